-- Named questions as the counts by minute answer them: exactly. Parameters and marks as in named.sql; and
-- $all_minutes: counts of incoming calls, for `hops=entry` without inner ones, of whole minutes (of old rows, whole hours) of
-- the time; $minutes those of them that are $own: of `open` ones those of services of which the kept traces say so.
-- $bad, $server: a failed call, one that is not the caller's fault. Which of the two answers: minutes.py.

-- name: probe
-- Whether the minutes can answer: what of the time they do not know, or not exactly.
WITH (SELECT toDateTime64(toUInt32OrZero(extract(comment, 'since (\\d+)')), 3, 'UTC') FROM system.tables
      WHERE database = currentDatabase() AND name IN ('api_minutes', 'api_minutes_local') AND comment != ''
      ORDER BY name DESC LIMIT 1) AS counted_from
SELECT counted_from,
       -- An event is at most five minutes ahead of our clock: what is later came later.
       (SELECT count() FROM api_events WHERE event_type = 'api_call' AND direction = 'incoming'
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
          AND event_time < counted_from + INTERVAL 6 MINUTE AND received_at < counted_from) AS uncounted,
       sumIf(calls, estimated AND asked) AS estimated_calls, sumIf(calls, hop = 'open' AND asked) AS open_calls,
       sumIf(calls, company_id = '' AND asked) AS nameless_calls, max(folded) AS folded_level,
       sumIf(calls, asked) > sumIf(records, asked) * (1 + 1e-9) AS weighted,
       sumIf(calls, asked) AS all_calls, sumIf(kept, hop = 'open' AND asked) AS open_rows,
       sum(records) > sum(kept) AS some_dropped
FROM (SELECT calls, estimated, hop, company_id, folded, records, kept, (1 $where) AS asked FROM $all_minutes)

-- name: counted_rows
-- Of all incoming calls of the time, in whole minutes (of old times, hours): how many came, how many of them were kept.
WITH (SELECT toDateTime64(toUInt32OrZero(extract(comment, 'since (\\d+)')), 3, 'UTC') FROM system.tables
      WHERE database = currentDatabase() AND name IN ('api_minutes', 'api_minutes_local') AND comment != ''
      ORDER BY name DESC LIMIT 1) AS counted_from
SELECT sum(records) AS received, sum(kept) AS were_kept, countIf(estimated) AS estimated, sum(calls) > received * (1 + 1e-9) AS weighted,
       $from < counted_from AS uncounted
FROM api_minutes WHERE minute >= $from AND minute < $to AND batch_id = 0 AND NOT unseen AND direction = 'incoming'

-- name: stored_rows
-- Of the same calls: how many the store has, and how many of these stand for others.
SELECT count() AS stored, countIf(sampling_p < 1 OR adjusted_count > 1) AS sampled
FROM api_events WHERE event_type = 'api_call' AND direction = 'incoming' AND event_time >= $from AND event_time < $to

-- name: open_hops
-- Of calls whose parents came in other requests, by service: whether they are customers' own, as the traces that are kept
-- tell of theirs, one in {part} of them. doubt: how many may be otherwise though those traces all say the same (95 %).
SELECT service, open_calls, traces, own_traces, mixed_traces, open_calls * (1 - pow(0.05, 1 / greatest(n_eff, 1e-9))) AS doubt
FROM (SELECT service, sum(calls) AS open_calls FROM $all_minutes AND hop = 'open' $where GROUP BY service) AS counted
LEFT JOIN (SELECT service, count() AS traces, sum(own) AS own_traces, sum(own AND NOT all_own) AS mixed_traces, pow(sum(a), 2) / sum(a * a) AS n_eff
           FROM (SELECT service, trace_hash, max(entry) AS own, min(entry) AS all_own, sum(adjusted_count) AS a
                 FROM $open_calls WHERE hop = 'open' $where
                 GROUP BY service, trace_hash)
           GROUP BY service) AS seen ON seen.service = counted.service
ORDER BY service

-- name: named_elsewhere
-- Of the last calls whose own request names no company, how many belong to a trace that does.
SELECT count() AS calls
FROM (SELECT trace_id FROM api_events
      WHERE event_type IN ('api_call', 'action') AND company_id != ''
        AND event_time >= {since:DateTime64(6)} - INTERVAL 1 HOUR AND event_time < {until:DateTime64(6)} + INTERVAL 1 HOUR
        AND trace_id GLOBAL IN (
            SELECT trace_id FROM api_events
            WHERE event_type = 'api_call' AND direction = 'incoming' AND company_id = '' AND trace_id != ''
              AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
            LIMIT {looked:UInt32})
      LIMIT 1)

-- name: totals
-- $doubt calls may be customers' own though they do not count as such, or the other way round; of a group as many as its own.
SELECT by, calls, calls - least($doubt, taken) AS calls_low, calls + least($doubt, left_out) AS calls_high,
       errors, errors - least($doubt, taken_bad) AS errors_low, errors + least($doubt, left_out_bad) AS errors_high,
       errors / calls AS error_rate, errors_low / greatest(calls_high, 1) AS error_rate_low,
       least(1, errors_high / greatest(calls_low, 1)) AS error_rate_high, server_errors, rows_seen
FROM (SELECT $by AS by, sumIf(n, own) AS calls, sumIf(n, own AND bad) AS errors, sumIf(n, own AND $server) AS server_errors,
             sumIf(n, own AND hop = 'open') AS taken, sumIf(n, NOT own) AS left_out,
             sumIf(n, own AND bad AND hop = 'open') AS taken_bad, sumIf(n, NOT own AND bad) AS left_out_bad,
             sumIf(kept, own) AS rows_seen
      FROM (SELECT *, calls AS n, $bad AS bad, $own AS own FROM $all_minutes $where)
      GROUP BY by HAVING calls > 0)
ORDER BY calls DESC, by LIMIT {limit:UInt32}

-- name: traffic_by_plan
SELECT toDate(minute) AS day, plan, sum(n) AS calls, sumIf(n, $bad) / calls AS error_rate, sum(kept) AS rows_seen,
       sumIf(n, $server) / calls AS server_error_rate
FROM (SELECT *, calls AS n FROM $minutes)
GROUP BY day, plan ORDER BY day, plan

-- name: top_erroring_customers
SELECT company_id, sum(n) AS calls, sumIf(n, $bad) AS errors, errors / calls AS error_rate,
       sumIf(n, $server) AS server_errors,
       mapFilter((kind, of_kind) -> kind != '', sumMap(map(error_type, n))) AS by_type
FROM (SELECT *, calls AS n FROM $minutes)
GROUP BY company_id HAVING calls >= {least:Float64} AND errors > 0
ORDER BY errors DESC, company_id LIMIT {limit:UInt32}

-- name: failing_customers
-- Who failed and how often from the counts; the users and a trace from the events that are kept.
SELECT counted.company_id AS company_id, failed, users_seen, first_seen, last_seen, endpoints, last_trace
FROM (SELECT company_id, sum(calls) AS failed, min(minute) AS first_seen, max(minute) AS last_seen,
             topKWeighted(3)(concat(method, ' ', endpoint), toUInt64(ceil(calls))) AS endpoints
      FROM $minutes
        AND $failing
      GROUP BY company_id ORDER BY failed DESC, company_id LIMIT {limit:UInt32}) AS counted
LEFT JOIN (SELECT company_id, uniqExact(user_id) AS users_seen, argMax(trace_id, event_time) AS last_trace
           FROM $calls
             AND $failing
             AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
           GROUP BY company_id) AS seen ON seen.company_id = counted.company_id
ORDER BY failed DESC, company_id

-- name: endpoint_percentiles
-- The middle of the bucket in which the percentile lies: right within 1 % (exporter/clickhouse/durations.py).
SELECT hour, method, endpoint, calls, round(at[1], 3) AS p50, round(at[2], 3) AS p95, round(at[3], 3) AS p99, rows_seen
FROM (SELECT toStartOfHour(minute) AS hour, method, endpoint, sum(kept) AS rows_seen, sumMap(durations) AS buckets,
             arraySort(b -> b.1, arrayZip(mapKeys(buckets), mapValues(buckets))) AS sorted, arrayCumSum(sorted.2) AS below,
             below[-1] AS calls,
             arrayMap(q -> 2 * pow($gamma, sorted.1[arrayFirstIndex(n -> n >= q * calls * (1 - 1e-12), below)]) / ($gamma + 1),
                      [0.5, 0.95, 0.99]) AS at
      FROM $minutes AND notEmpty(durations) AND ({endpoint:String} = '' OR endpoint = {endpoint:String})
      GROUP BY hour, method, endpoint)
ORDER BY hour, calls DESC, method, endpoint LIMIT {limit:UInt32}

-- name: percentile
-- As endpoint_percentiles; low and high: what open hops leave in doubt.
SELECT by, at[1] AS percentile_ms, at[2] AS low, at[3] AS high, calls, rows_seen
FROM (SELECT $by AS by, sumIf(kept, own) AS rows_seen, sumMapIf(durations, own) AS buckets, sumIf(n, hop = 'open') AS open_calls,
             arraySort(b -> b.1, arrayZip(mapKeys(buckets), mapValues(buckets))) AS sorted, arrayCumSum(sorted.2) AS below,
             arraySum(sorted.2) AS calls,
             arrayMap(rank -> round(2 * pow($gamma, sorted.1[arrayFirstIndex(m -> m >= least(rank, calls) * (1 - 1e-12), below)])
                                    / ($gamma + 1), 3),
                      [{q:Float64} * calls, {q:Float64} * calls - least($doubt, open_calls),
                       {q:Float64} * calls + least($doubt, open_calls)]) AS at
      FROM (SELECT *, calls AS n, $own AS own FROM $all_minutes AND notEmpty(durations) $where)
      GROUP BY by HAVING calls > 0)
ORDER BY calls DESC, by LIMIT {limit:UInt32}

-- name: endpoint_coverage
WITH (SELECT uniqExact(method, endpoint) FROM $minutes AND endpoint NOT IN ('', '(other)')) AS all_endpoints
SELECT company_id, uniqExact(method, endpoint) AS endpoints_seen, all_endpoints,
       endpoints_seen / all_endpoints AS coverage, sum(n) AS calls
FROM (SELECT *, calls AS n FROM $minutes AND endpoint NOT IN ('', '(other)') AND company_id != '')
GROUP BY company_id ORDER BY endpoints_seen DESC, calls DESC, company_id LIMIT {limit:UInt32}

-- name: usage
SELECT toDateTime($by, 'UTC') AS begins, tenant, company_id, sum(n) AS calls
FROM (SELECT *, calls AS n FROM $minutes $where)
GROUP BY begins, tenant, company_id ORDER BY begins, tenant, company_id LIMIT {limit:UInt32}

-- name: adoption
SELECT day, api_version, customers_seen, customers_seen / all_customers AS share_of_customers, calls, calls / all_calls AS share_of_calls
FROM (SELECT toDate(minute) AS day, api_version, uniqExact(company_id) AS customers_seen, sum(n) AS calls
      FROM (SELECT *, calls AS n FROM $minutes AND company_id != '') GROUP BY day, api_version) AS used
INNER JOIN (SELECT toDate(minute) AS day, uniqExact(company_id) AS all_customers, sum(n) AS all_calls
            FROM (SELECT *, calls AS n FROM $minutes AND company_id != '') GROUP BY day) AS everything USING (day)
WHERE {version:String} IN ('', api_version)
ORDER BY day, calls DESC, api_version LIMIT {limit:UInt32}

-- name: returning
SELECT toDate('1970-01-05') + $interval AS period, countIf(kind = 'new') AS new, countIf(kind = 'returning') AS returning,
       countIf(kind = 'back') AS came_back, countIf(kind = 'lost') AS lost
FROM (SELECT seen.1 AS number, seen.2 AS kind
      FROM (SELECT company_id, arraySort(groupUniqArray(dateDiff($unit, toDate('1970-01-05'), toDate(minute)))) AS numbers,
                   dateDiff($unit, toDate('1970-01-05'), toDate({until:DateTime64(6)} - INTERVAL 1 SECOND)) AS last_number
            FROM $minutes AND company_id != ''
            GROUP BY company_id)
      ARRAY JOIN arrayConcat(
          arrayMap((n, p) -> (n, multiIf(p = 1, 'new', has(numbers, n - 1), 'returning', 'back')), numbers, arrayEnumerate(numbers)),
          arrayMap(n -> (n + 1, 'lost'), arrayFilter(n -> NOT has(numbers, n + 1) AND n < last_number, numbers))) AS seen)
GROUP BY number ORDER BY number

-- name: series
-- As `overview` in looks.sql; of vnn and vee only what open hops leave in doubt. $middle: where the time before ends.
SELECT multiIf(NOT whole, bucket, now, 0, 1) AS time, calls, failed, server_failed, rows_seen, 0 AS sampled,
       pow(least($doubt, open_calls) / 1.96, 2) AS vnn, pow(least($doubt, open_failed) / 1.96, 2) AS vee, 0. AS ven,
       timed, 0. AS timed_doubt, q
FROM (
    SELECT b AS bucket, now, grouping(b) = 1 AS whole, sumIf(n, own) AS calls, sumIf(n, own AND bad) AS failed,
           sumIf(n, own AND $server) AS server_failed, sumIf(kept, own) AS rows_seen, sumIf(n, hop = 'open') AS open_calls,
           sumIf(n, hop = 'open' AND bad) AS open_failed, sumMapIf(durations, own) AS buckets,
           arraySort(s -> s.1, arrayZip(mapKeys(buckets), mapValues(buckets))) AS sorted, arrayCumSum(sorted.2) AS below,
           arraySum(sorted.2) AS timed,
           arrayMap(l -> if(timed > 0, 2 * pow($gamma, sorted.1[arrayFirstIndex(m -> m >= l * timed * (1 - 1e-12), below)])
                                       / ($gamma + 1), nan),
                    [0.05, 0.25, 0.5, 0.75, 0.9, 0.925, 0.95, 0.975, 0.99, 0.999]) AS q
    FROM (SELECT *, minute >= $middle AS now,
                 if(now, toUInt32(intDiv(toUnixTimestamp(minute), {step:UInt32}) * {step:UInt32}), 1) AS b, calls AS n,
                 $bad AS bad, $own AS own
          FROM $all_minutes $where)
    GROUP BY GROUPING SETS ((b), (now)))
WHERE whole OR bucket != 1
ORDER BY time

-- name: groups
-- As in looks.sql. The minutes know no trace; last_seen is a minute.
SELECT * FROM (
    SELECT $by AS by, $value AS value, sumIf(n, now) AS calls_now, sumIf(n, now AND bad) AS failed_now,
           sumIf(n, NOT now) AS calls_before, sumIf(n, NOT now AND bad) AS failed_before,
           countIf(now AND hop = 'open') AS sampled_now, maxIf(minute, now) AS last_seen, '' AS last_trace
    FROM (SELECT minute, minute >= $middle AS now, calls AS n, $bad AS bad, hop $columns_by FROM $minutes $where)
    GROUP BY GROUPING SETS ($sets))
ORDER BY failed_now DESC, calls_now DESC, calls_before DESC, value LIMIT {limit:UInt32} BY by

-- name: beside
-- As `beside_others` in looks.sql.
SELECT own, calls, failed,
       arrayMap(l -> if(timed > 0, 2 * pow($gamma, sorted.1[arrayFirstIndex(m -> m >= l * timed * (1 - 1e-12), below)])
                                   / ($gamma + 1), nan), [0.5, 0.95]) AS q
FROM (
    SELECT company_id = {company:String} AS own, sum(n) AS calls, sumIf(n, bad) AS failed, sumMap(durations) AS buckets,
           arraySort(s -> s.1, arrayZip(mapKeys(buckets), mapValues(buckets))) AS sorted, arrayCumSum(sorted.2) AS below,
           arraySum(sorted.2) AS timed
    FROM (SELECT company_id, calls AS n, durations, $bad AS bad FROM $minutes $where)
    GROUP BY own)
