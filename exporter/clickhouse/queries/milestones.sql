-- Questions about how customers get on. Parameters and marks: named.sql. Where what came before matters,
-- {since} lies before {begin}. Customers and users are those seen: sampling hides some (sample_unit: user or company does not).

-- name: first_calls
-- Customers whose first call that is looked at lies in the time: when it was, when the first good one was, how many failed before.
SELECT company_id, first_call, if(any_good, first_good, NULL) AS first_success,
       if(any_good, dateDiff('second', first_call, first_good), NULL) AS seconds_to_success, failed_before, calls, users_seen
FROM (SELECT company_id, min(event_time) AS first_call, countIf(NOT $failed) > 0 AS any_good,
             minIf(event_time, NOT $failed) AS first_good, sum(adjusted_count) AS calls, uniqExact(user_id) AS users_seen,
             groupArrayIf((event_time, adjusted_count), $failed) AS failed_calls,
             arraySum(f -> if(f.1 < first_good OR NOT any_good, f.2, 0.), failed_calls) AS failed_before
      FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != ''
      GROUP BY company_id)
WHERE first_call >= {begin:DateTime64(6)}
ORDER BY first_call DESC, company_id LIMIT {limit:UInt32}

-- name: milestones
-- When each customer reached its 1st, 10th, .. call (to the minute), its first success, and days without a failed call.
SELECT company_id, calls, arrayMap(n -> if(below[-1] >= n, toString(minutes[arrayFirstIndex(b -> b >= n, below)]), ''),
                                   {steps:Array(Float64)}) AS reached,
       if(any_good, good_since, NULL) AS first_success,
       dateDiff('day', if(any_bad, failed_last, minutes[1]), {until:DateTime64(6)}) AS days_without_errors
FROM (SELECT company_id, sum(n) AS calls, max(good) AS any_good, max(bad) AS any_bad, minIf(good_at, good) AS good_since,
             maxIf(bad_at, bad) AS failed_last, arraySort(groupArray((minute, n))) AS sorted, sorted.1 AS minutes,
             arrayCumSum(sorted.2) AS below
      FROM (SELECT company_id, toStartOfMinute(event_time) AS minute, sum(adjusted_count) AS n, countIf($failed) > 0 AS bad,
                   countIf(NOT $failed) > 0 AS good, minIf(event_time, NOT $failed) AS good_at, maxIf(event_time, $failed) AS bad_at
            FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != '' GROUP BY company_id, minute)
      GROUP BY company_id)
ORDER BY calls DESC, company_id LIMIT {limit:UInt32}

-- name: adoption
-- Each day's customers and calls by version: the share of customers that use it beside its share of calls.
SELECT day, api_version, customers_seen, customers_seen / all_customers AS share_of_customers, calls, calls / all_calls AS share_of_calls
FROM (SELECT toDate(event_time) AS day, api_version, uniqExact(company_id) AS customers_seen, sum(adjusted_count) AS calls
      FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != '' GROUP BY day, api_version) AS used
INNER JOIN (SELECT toDate(event_time) AS day, uniqExact(company_id) AS all_customers, sum(adjusted_count) AS all_calls
            FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != '' GROUP BY day) AS everything USING (day)
WHERE {version:String} IN ('', api_version)
ORDER BY day, calls DESC, api_version LIMIT {limit:UInt32}

-- name: returning
-- Customers by $period: new ones, those that were there in the period before, those that came back after a pause, and lost ones.
SELECT toDate('1970-01-05') + $interval AS period, countIf(kind = 'new') AS new, countIf(kind = 'returning') AS returning,
       countIf(kind = 'back') AS came_back, countIf(kind = 'lost') AS lost
FROM (SELECT seen.1 AS number, seen.2 AS kind
      FROM (SELECT company_id, arraySort(groupUniqArray(dateDiff($unit, toDate('1970-01-05'), toDate(event_time)))) AS numbers,
                   dateDiff($unit, toDate('1970-01-05'), toDate({until:DateTime64(6)} - INTERVAL 1 SECOND)) AS last_number
            FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != ''
            GROUP BY company_id)
      ARRAY JOIN arrayConcat(
          arrayMap((n, p) -> (n, multiIf(p = 1, 'new', has(numbers, n - 1), 'returning', 'back')), numbers, arrayEnumerate(numbers)),
          arrayMap(n -> (n + 1, 'lost'), arrayFilter(n -> NOT has(numbers, n + 1) AND n < last_number, numbers))) AS seen)
GROUP BY number ORDER BY number

-- name: health
-- Customers against themselves before: calls and failures of the time beside those of an equal time, on average before.
SELECT company_id, calls, calls_before, if(calls_before > 0, calls / calls_before - 1, NULL) AS change,
       if(calls > 0, errors / calls, NULL) AS error_rate, if(calls_before > 0, errors_before / calls_before, NULL) AS error_rate_before,
       last_call
FROM (SELECT company_id, sumIf(n, at >= {begin:DateTime64(6)}) AS calls, sumIf(n, at < {begin:DateTime64(6)}) / {times:Float64} AS calls_before,
             sumIf(n, at >= {begin:DateTime64(6)} AND bad) AS errors, sumIf(n, at < {begin:DateTime64(6)} AND bad) / {times:Float64} AS errors_before,
             max(at) AS last_call
      FROM (SELECT company_id, adjusted_count AS n, event_time AS at, $failed AS bad FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != '') GROUP BY company_id)
ORDER BY abs(calls - calls_before) DESC, company_id LIMIT {limit:UInt32}

-- name: retry_storms
-- Who called one endpoint again and again while it failed: minutes with {least} failed calls or more by one user.
SELECT company_id, user_id, method, endpoint, count() AS minutes, sum(failed) AS failed, sum(n) AS calls, min(minute) AS first_seen,
       max(minute) AS last_seen, arraySort(groupUniqArrayArray(of_minute)) AS statuses, any(trace) AS a_trace
FROM (SELECT company_id, user_id, method, endpoint, toStartOfMinute(event_time) AS minute, sum(adjusted_count) AS n,
             sumIf(adjusted_count, $failed) AS failed, groupUniqArrayIf(status_code, $failed) AS of_minute, anyIf(trace_id, $failed) AS trace
      FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND (user_id != '' OR company_id != '')
      GROUP BY company_id, user_id, method, endpoint, minute HAVING failed >= {least:Float64})
GROUP BY company_id, user_id, method, endpoint ORDER BY failed DESC, company_id, user_id LIMIT {limit:UInt32}

-- name: tokens
-- Tokens of models by customer, model and day.
SELECT toDate(event_time) AS day, company_id, model, sum(a) AS calls, sum(a * given) AS input_tokens, sum(a * made) AS output_tokens
FROM (SELECT event_time, company_id, adjusted_count AS a, metadata.action.model::String AS model,
             toFloat64OrZero(metadata.action.tokens.input::String) AS given, toFloat64OrZero(metadata.action.tokens.output::String) AS made
      FROM api_events
      WHERE family = 'genai' AND event_type != 'log'
        -- Steps around calls may name a model, too.
        AND metadata.action.operation::String NOT IN ('chain', 'create_agent', 'evaluation', 'execute_tool', 'guardrail',
          'invoke_agent', 'invoke_workflow', 'prompt', 'retrieval', 'task')
        AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where)
WHERE model != ''
GROUP BY day, company_id, model ORDER BY day, input_tokens DESC, company_id, model LIMIT {limit:UInt32}

-- name: monthly
-- Customers by month, the running one to date: calls, failures, users, and the days on which they called.
SELECT toStartOfMonth(event_time) AS month, company_id, sum(adjusted_count) AS calls, sumIf(adjusted_count, $failed) AS errors,
       errors / calls AS error_rate, uniqExact(user_id) AS users_seen, uniqExact(toDate(event_time)) AS days_seen
FROM $calls AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} AND company_id != ''
GROUP BY month, company_id ORDER BY month, calls DESC, company_id LIMIT {limit:UInt32}
