-- The questions of pages. Parameters are {name:Type}; $name is put in by looks.py.
-- $calls: customers' own calls of the time, each once (api_calls.sql), as far as the asker may see them; $earlier_calls
-- begins with the time before. $events: the events that the asker may see. No other table is read here.
-- A failed call has a status from 400 or an error without one, as in queries.sql.

-- name: overview
-- By time, all of the time and all before it. v..: variances by call; `doubt` has them by what was kept or dropped together.
SELECT if(grouping(b) = 0, 'time', 'half') AS by, if(grouping(b) = 0, toString(b), toString(half)) AS value,
       sum(a) AS calls, sumIf(a, bad) AS failed, sumIf(a, ours) AS server_failed,
       count() AS rows_seen, countIf(p < 1) AS sampled, sum((1 - p) * a * a) AS vnn, sumIf((1 - p) * a * a, bad) AS vee,
       vee AS ven, sumIf(a, took >= 0) AS timed, sumIf((1 - p) * a * a, took >= 0) AS timed_doubt,
       quantilesTDigestWeightedIf(0.05, 0.25, 0.5, 0.75, 0.9, 0.925, 0.95, 0.975, 0.99, 0.999)(took, w, took >= 0) AS q
FROM (
    SELECT event_time >= {since:DateTime64(6)} AS now, toUInt32(now) AS half,
           if(now, toUInt32(intDiv(toUnixTimestamp(event_time), {step:UInt32}) * {step:UInt32}), 1) AS b,
           adjusted_count AS a, weight AS w, sampling_p AS p, ifNull(duration_ms, -1) AS took,
           status_code >= 400 OR error_type != '' AS bad,
           status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled')) AS ours
    FROM $earlier_calls AS c
    WHERE 1 $where)
GROUP BY GROUPING SETS ((b), (half))

-- name: groups
-- One pass over the calls, which cost most: by each of some columns.
SELECT * FROM (
    SELECT $by AS by, $value AS value, sumIf(a, now) AS calls_now, sumIf(a, now AND bad) AS failed_now,
           sumIf(a, NOT now) AS calls_before, sumIf(a, NOT now AND bad) AS failed_before,
           countIf(now AND p < 1) AS sampled_now, maxIf(at, now) AS last_seen,
           argMaxIf(trace, at, now AND bad) AS last_trace
    FROM (
        SELECT event_time >= {since:DateTime64(6)} AS now, adjusted_count AS a, sampling_p AS p, event_time AS at,
               trace_id AS trace, status_code >= 400 OR error_type != '' AS bad $columns_by
        FROM $earlier_calls AS c
        WHERE 1 $where)
    GROUP BY GROUPING SETS ($sets))
ORDER BY failed_now DESC, calls_now DESC, calls_before DESC, value LIMIT {limit:UInt32} BY by

-- name: last_failed
-- From the events alone, as `failures`: beside groups that the counts by minute have, which know no trace.
SELECT pair.1 AS by, pair.2 AS value, argMax(trace_id, event_time) AS trace
FROM (
    SELECT arrayJoin($pairs) AS pair, trace_id, event_time
    FROM $events AS e
    WHERE event_type = 'api_call' AND direction = 'incoming' AND hop != 'inner'
      AND (status_code >= 400 OR error_type != '')
      AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where)
GROUP BY pair ORDER BY count() DESC, value LIMIT {limit:UInt32} BY by

-- name: doubt
-- Sums by time and what was kept or dropped together, then the variance (1-p) s^2 of each.
SELECT bucket AS time, sum((1 - p) * n * n) AS vnn, sum((1 - p) * e * e) AS vee, sum((1 - p) * n * e) AS ven
FROM (
    SELECT toUInt32(intDiv(toUnixTimestamp(event_time), {step:UInt32}) * {step:UInt32}) AS bucket,
           $cluster AS cluster, min(sampling_p) AS p, sum(adjusted_count) AS n,
           sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS e
    FROM $calls AS c
    WHERE sampling_p < 1 $where
    GROUP BY bucket, cluster)
GROUP BY time ORDER BY time

-- name: facets
SELECT pair.1 AS by, pair.2 AS value, sum(a) AS events, count() AS rows_seen
FROM (
    SELECT arrayJoin(arrayFilter(p -> p.2 NOT IN ('', ' ', '0'), $pairs)) AS pair, adjusted_count AS a
    FROM $events AS e
    WHERE event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where)
GROUP BY pair ORDER BY events DESC, value LIMIT {limit:UInt32} BY by

-- name: failures
-- From the events alone, which is quick: of one trace the outermost call that is known.
SELECT * FROM (
    SELECT * FROM (
        SELECT event_time, event_id, service, method, endpoint, uri, status_code, error_type, duration_ms, company_id,
               user_id, trace_id, weight, metadata.error.message::String AS message
        FROM $events AS e
        WHERE event_type = 'api_call' AND direction = 'incoming' AND hop != 'inner'
          AND (status_code >= 400 OR error_type != '')
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
        ORDER BY event_time DESC, event_id LIMIT {looked:UInt32})
    ORDER BY event_time LIMIT 1 BY if(trace_id = '', event_id, trace_id))
ORDER BY event_time DESC, event_id LIMIT {limit:UInt32}

-- name: told_in
SELECT trace_id, event_time, service, severity, body, toJSONString(metadata) AS attributes
FROM $events AS e
WHERE event_type = 'log' AND trace_id IN {traces:Array(String)}
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
ORDER BY severity_number DESC, event_time LIMIT {per_trace:UInt32} BY trace_id

-- name: events
SELECT $columns, metadata.error.message::String AS error_message
FROM $events AS e
WHERE event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
ORDER BY event_time DESC, event_id LIMIT {limit:UInt32}

-- name: histogram
SELECT toUInt32(intDiv(toUnixTimestamp(event_time), {step:UInt32}) * {step:UInt32}) AS bucket,
       multiIf(event_type = 'api_call' AND (status_code >= 400 OR error_type != ''), 'failed',
               event_type = 'log' AND severity_number >= 17, 'failed', event_type = 'api_call', 'call',
               event_type = 'log', 'log', 'action') AS kind,
       sum(adjusted_count) AS events
FROM $events AS e
WHERE event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
GROUP BY bucket, kind ORDER BY bucket

-- name: arrivals
SELECT toUInt32(toUnixTimestamp(received_at)) AS second, count() AS events
FROM $events AS e
WHERE received_at >= {after:DateTime64(3)} AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
GROUP BY second ORDER BY second

-- name: arrived
SELECT $columns, metadata.error.message::String AS error_message
FROM $events AS e
WHERE toUInt32(toUnixTimestamp(received_at)) IN {seconds:Array(UInt32)}
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
ORDER BY received_at DESC, event_time DESC, event_id LIMIT {limit:UInt32}

-- name: event
SELECT * EXCEPT (metadata), toJSONString(metadata) AS metadata
FROM $events AS e
WHERE event_id = {event_id:String} AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
LIMIT 1

-- name: trace
SELECT $columns, metadata.error.message::String AS error_message
FROM $events AS e
WHERE trace_id = {trace_id:String} AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
ORDER BY event_time, start_unix_ns, span_id LIMIT {limit:UInt32}

-- name: seen
SELECT min(event_time) AS first_seen, max(event_time) AS last_seen, count() AS rows_seen
FROM $events AS e
WHERE event_type = 'api_call' AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where

-- name: newest
SELECT max(event_time) AS newest, count() AS rows_seen
FROM $events AS e
WHERE event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}

-- name: quota
SELECT event_time, response_headers AS headers, status_code
FROM $events AS e
WHERE event_type = 'api_call' AND direction = 'incoming'
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
  AND arrayExists(name -> lower(name) LIKE '%ratelimit%' OR lower(name) LIKE '%quota%' OR lower(name) = 'retry-after',
                  mapKeys(response_headers)) $where
ORDER BY event_time DESC LIMIT 1

-- name: models
SELECT model, sum(a) AS calls, sum(a * given) AS input_tokens, sum(a * made) AS output_tokens
FROM (
    SELECT adjusted_count AS a, metadata.action.model::String AS model,
           toFloat64OrZero(metadata.action.tokens.input::String) AS given,
           toFloat64OrZero(metadata.action.tokens.output::String) AS made
    FROM $events AS e
    WHERE family = 'genai' AND event_type != 'log'
      -- Steps around calls may name a model, too.
      AND metadata.action.operation::String NOT IN ('chain', 'create_agent', 'evaluation', 'execute_tool', 'guardrail',
          'invoke_agent', 'invoke_workflow', 'prompt', 'retrieval', 'task')
      AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where)
WHERE model != ''
GROUP BY model ORDER BY calls DESC, model LIMIT {limit:UInt32}

-- name: beside_others
SELECT ($own) AS own, sum(adjusted_count) AS calls, sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS failed,
       quantilesTDigestWeighted(0.5, 0.95)(assumeNotNull(duration_ms), weight) AS q, uniqExact(company_id) AS companies
FROM $calls AS c
GROUP BY own
