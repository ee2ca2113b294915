-- Named questions as the counts by minute answer them: exactly. Parameters and marks as in named.sql; and
-- $minutes: counts of incoming calls, $hop as far as asked, of whole minutes (of old rows, whole hours) of the time.
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
       sumIf(records, asked) - sumIf(kept, asked) AS dropped
FROM (SELECT calls, estimated, hop, company_id, folded, records, kept, (1 $where) AS asked FROM $minutes)

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
SELECT $by AS by, sum(n) AS calls, sumIf(n, $bad) AS errors, errors / calls AS error_rate,
       sumIf(n, $server) AS server_errors, sum(kept) AS rows_seen
FROM (SELECT *, calls AS n FROM $minutes $where)
GROUP BY by ORDER BY calls DESC, by LIMIT {limit:UInt32}

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
        AND ({status:UInt16} = 0 AND (status_code >= 400 OR (status_code = 0 AND error_type != ''))
             OR {status:UInt16} != 0 AND status_code = {status:UInt16})
      GROUP BY company_id ORDER BY failed DESC, company_id LIMIT {limit:UInt32}) AS counted
LEFT JOIN (SELECT company_id, uniqExact(user_id) AS users_seen, argMax(trace_id, event_time) AS last_trace
           FROM $calls
             AND ({status:UInt16} = 0 AND (status_code >= 400 OR (status_code = 0 AND error_type != ''))
                  OR {status:UInt16} != 0 AND status_code = {status:UInt16})
             AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
           GROUP BY company_id) AS seen ON seen.company_id = counted.company_id
ORDER BY failed DESC, company_id

-- name: endpoint_percentiles
-- The middle of the bucket in which the percentile lies: right within 1 % (exporter/clickhouse/counted.py).
SELECT hour, method, endpoint, calls, round(at[1], 3) AS p50, round(at[2], 3) AS p95, round(at[3], 3) AS p99, rows_seen
FROM (SELECT toStartOfHour(minute) AS hour, method, endpoint, sum(kept) AS rows_seen, sumMap(durations) AS buckets,
             arraySort(b -> b.1, arrayZip(mapKeys(buckets), mapValues(buckets))) AS sorted, arrayCumSum(sorted.2) AS below,
             below[-1] AS calls,
             arrayMap(q -> 2 * pow($gamma, sorted.1[arrayFirstIndex(n -> n >= q * calls * (1 - 1e-12), below)]) / ($gamma + 1),
                      [0.5, 0.95, 0.99]) AS at
      FROM $minutes AND notEmpty(durations) AND ({endpoint:String} = '' OR endpoint = {endpoint:String})
      GROUP BY hour, method, endpoint)
ORDER BY hour, calls DESC, method, endpoint LIMIT {limit:UInt32}

-- name: endpoint_coverage
WITH (SELECT uniqExact(method, endpoint) FROM $minutes AND endpoint NOT IN ('', '(other)')) AS all_endpoints
SELECT company_id, uniqExact(method, endpoint) AS endpoints_seen, all_endpoints,
       endpoints_seen / all_endpoints AS coverage, sum(n) AS calls
FROM (SELECT *, calls AS n FROM $minutes AND endpoint NOT IN ('', '(other)') AND company_id != '')
GROUP BY company_id ORDER BY endpoints_seen DESC, calls DESC, company_id LIMIT {limit:UInt32}
