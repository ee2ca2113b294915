-- The store's named queries. Parameters are {name:Type}; $name is a column chosen from a list in queries.py.
-- Times are UTC, from {since} (included) to {until} (excluded). Calls are weighted unless a column says "seen".
-- $cluster: a hash of what rows were kept or dropped together by, mostly the trace; a row without one is alone.
-- $calls: incoming calls of the time, each as customers see it (api_calls.sql): one per call, or every hop of it.
-- All read the table api_events of the connection's database and run unchanged on a server and on a cluster.

-- name: trace
-- Everything stored of one trace, in order of time. `around` +- 1 day limits the search; without it all days are asked.
SELECT $event
FROM api_events
WHERE trace_id = {trace_id:String} AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
ORDER BY event_time, start_unix_ns, span_id LIMIT {limit:UInt32}

-- name: tail
-- Events that arrived after {after}, oldest first.
SELECT $event
FROM api_events
WHERE received_at > {after:DateTime64(3)} AND event_time > {after:DateTime64(3)} - INTERVAL 1 DAY $where
ORDER BY received_at, event_time, event_id LIMIT {limit:UInt32}

-- name: latest
-- The last events that arrived, newest first.
SELECT $event
FROM api_events
WHERE event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
ORDER BY received_at DESC, event_time DESC, event_id LIMIT {limit:UInt32}

-- name: user_calls
-- A user's last calls and actions, newest first.
SELECT $event
FROM api_events
WHERE user_id = {user_id:String} AND event_type != 'log'
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
ORDER BY event_time DESC LIMIT {limit:UInt32}

-- name: failing_customers
-- Customers whose incoming calls got the given status (0: any from 400, or none at all), most calls first.
SELECT company_id, sum(adjusted_count) AS failed, uniqExact(user_id) AS users_seen, min(event_time) AS first_seen,
       max(event_time) AS last_seen, topKWeighted(3)(concat(method, ' ', endpoint), weight) AS endpoints,
       argMax(trace_id, event_time) AS last_trace
FROM $calls
  AND $failing
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY company_id ORDER BY failed DESC, company_id LIMIT {limit:UInt32}

-- name: top_erroring_customers
-- Customers by the share of their calls that failed, with the errors' kinds; only those with {least:Float64} calls or more.
SELECT company_id, sum(adjusted_count) AS calls, sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS errors,
       errors / calls AS error_rate,
       sumIf(adjusted_count, status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled'))) AS server_errors,
       mapFilter((kind, n) -> kind != '', sumMap(map(error_type, adjusted_count))) AS by_type
FROM $calls
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY company_id HAVING calls >= {least:Float64} AND errors > 0
ORDER BY errors DESC, company_id LIMIT {limit:UInt32}

-- name: traffic_by_plan
-- Incoming calls and their error rate, by plan and day.
SELECT toDate(event_time) AS day, plan, sum(adjusted_count) AS calls,
       sumIf(adjusted_count, status_code >= 400 OR error_type != '') / calls AS error_rate, count() AS rows_seen,
       sumIf(adjusted_count, status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled'))) / calls AS server_error_rate
FROM $calls
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY day, plan ORDER BY day, plan

-- name: endpoint_percentiles
-- Durations of incoming calls in ms by endpoint and hour. `endpoint` '' means all.
SELECT toStartOfHour(event_time) AS hour, method, endpoint, sum(adjusted_count) AS calls,
       quantilesTDigestWeighted(0.5, 0.95, 0.99)(duration_ms, weight) AS q,
       round(q[1], 3) AS p50, round(q[2], 3) AS p95, round(q[3], 3) AS p99, count() AS rows_seen
FROM $calls AND duration_ms IS NOT NULL
  AND ({endpoint:String} = '' OR endpoint = {endpoint:String})
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY hour, method, endpoint ORDER BY hour, calls DESC, method, endpoint LIMIT {limit:UInt32}

-- name: logs_of_failing_calls
-- Log lines in the traces of failed incoming calls, newest call first. `company_id` '' means all.
WITH (SELECT groupArray((trace_id, call_time, call_company, call_user, call_method, call_endpoint, call_status))
      FROM (SELECT trace_id, min(event_time) AS call_time, any(company_id) AS call_company, any(user_id) AS call_user,
                   any(method) AS call_method, any(endpoint) AS call_endpoint, max(status_code) AS call_status
            FROM $calls AND trace_id != ''
              AND (status_code >= 400 OR error_type != '')
              AND ({company_id:String} = '' OR company_id = {company_id:String})
              AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
            GROUP BY trace_id ORDER BY call_time DESC LIMIT {limit:UInt32})) AS failing,
     arrayMin(arrayPushFront(failing.2, {until:DateTime64(6)})) AS first_failed
SELECT c.call.2 AS call_time, c.call.3 AS company_id, c.call.4 AS user_id, c.call.5 AS method, c.call.6 AS endpoint,
       c.call.7 AS status_code, l.event_time AS event_time, l.service AS service, l.severity AS severity,
       l.body AS body, l.trace_id AS trace_id, l.span_id AS span_id
FROM (SELECT trace_id, event_time, service, severity, body, span_id FROM api_events
      WHERE event_type = 'log' AND trace_id != '' AND trace_id GLOBAL IN (SELECT arrayJoin(failing.1))
        AND event_time >= first_failed - INTERVAL 1 HOUR
        AND event_time < {until:DateTime64(6)} + INTERVAL 1 HOUR) AS l
GLOBAL INNER JOIN (SELECT arrayJoin(failing) AS call, call.1 AS trace_id) AS c ON l.trace_id = c.trace_id
ORDER BY call_time DESC, trace_id, event_time LIMIT 10000

-- name: retention_cohorts
-- Of the users first seen in a week, how many were seen again `age` weeks later. Seen: sampling hides users, and
-- weights cannot bring them back (sample by user to count users).
SELECT weeks[1] AS cohort, dateDiff('week', cohort, week) AS age, count() AS users_seen
FROM (SELECT user_id, arraySort(groupUniqArray(toStartOfWeek(event_time, 1))) AS weeks
      FROM $calls AND user_id != ''
        AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
      GROUP BY user_id)
ARRAY JOIN weeks AS week
GROUP BY cohort, age ORDER BY cohort, age

-- name: onboarding_funnel
-- How many customers got to each step in order, within {window_s} of their first; a step is 'METHOD endpoint' or an action.
SELECT step, steps[step] AS what, countIf(level >= step) AS companies_seen
FROM (SELECT company_id, windowFunnel({window_s:UInt64})(toDateTime(event_time), $steps) AS level
      FROM api_events
      WHERE company_id != '' AND event_type IN ('api_call', 'action') AND (status_code < 400 OR event_type = 'action')
        AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
      GROUP BY company_id) AS levels
ARRAY JOIN range(1, length({steps:Array(String)}) + 1) AS step
CROSS JOIN (SELECT {steps:Array(String)} AS steps) AS named
GROUP BY step, what ORDER BY step

-- name: endpoint_coverage
-- How many of the API's endpoints each customer uses. Seen: rare calls of sampled traffic may be missing.
WITH (SELECT uniqExact(method, endpoint) FROM $calls AND endpoint != ''
        AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}) AS all_endpoints
SELECT company_id, uniqExact(method, endpoint) AS endpoints_seen, all_endpoints,
       endpoints_seen / all_endpoints AS coverage, sum(adjusted_count) AS calls
FROM $calls AND endpoint != '' AND company_id != ''
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY company_id ORDER BY endpoints_seen DESC, calls DESC, company_id LIMIT {limit:UInt32}

-- name: usage
-- Calls of each customer by hour or day: what a bill counts.
SELECT toDateTime($by, 'UTC') AS begins, tenant, company_id, sum(adjusted_count) AS calls
FROM $calls $where
  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}
GROUP BY begins, tenant, company_id ORDER BY begins, tenant, company_id LIMIT {limit:UInt32}
