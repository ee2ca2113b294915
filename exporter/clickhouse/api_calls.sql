-- The view `api_calls(since = ..., until = ...)`: every API call of a time, each once, with two things that only its
-- whole trace can tell, in whatever order and through whatever bridges its spans have come:
--   entry     whether it is the customer's own call: incoming, with no other incoming call above it in its trace
--   user_id, company_id  where the call itself names none, the one that other spans of its trace agree on
-- A call's ancestors begin before it: they are looked for from an hour before `since` on. What `hop` has decided at
-- arrival stays; the rest is resolved so:
--   unsure    only traces with a call of which neither its hop nor its being a root tells (call_place 4) are looked at
--   rooted    a trace that begins with an incoming call has no other entry
--   doubtful  of a trace with several incoming calls and none at its root (callers that send a traceparent of their own)
--             those are inner whose parent is an incoming call, is known to be below one, or is a span of a service that
--             another incoming call of the trace reached; when that leaves none, the first is the entry
--   told twice  of a call that a log told of and a span too, too late for the bridge to know that they are one
--             (exporter/same_call.py), the log's is no entry: method, and span, service or route, and the time agree
-- Traces are compared by their 64-bit hashes, which the table has; two of one question that share one are unheard of.
-- $only: conditions on the columns of `api_call`, of a question that wants some; of others nothing is resolved. The view has
-- none. They are about single rows, and not about the names that the rest of a trace may give.
WITH
    {since:DateTime64(6)} - INTERVAL 1 HOUR AS reach_from, {until:DateTime64(6)} + INTERVAL 1 HOUR AS reach_to,
    unsure AS (
        SELECT trace_hash FROM $table AS api_call
        WHERE event_type = 'api_call' AND call_place = 4
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}$only),
    rooted AS (
        SELECT trace_hash FROM $table
        WHERE event_type = 'api_call' AND call_place = 1
          AND event_time >= reach_from AND event_time < reach_to AND trace_hash GLOBAL IN unsure),
    doubtful AS (
        SELECT trace_hash FROM $table
        WHERE event_type = 'api_call' AND call_place != 0
          AND event_time >= reach_from AND event_time < reach_to AND trace_hash GLOBAL IN unsure
        GROUP BY trace_hash HAVING count() > 1 AND countIf(call_place = 1) = 0),
    inner_calls AS (
        SELECT trace_hash, arrayJoin(if(empty(first_calls), arraySlice(arraySort(c -> c.4, below), 2), below)).6 AS call_hash
        FROM (SELECT trace_hash,
                  groupArrayIf((cityHash64(span_id), cityHash64(parent_span_id), service, start_unix_ns, hop,
                                if(source = 'log', cityHash64(span_id, service, start_unix_ns), cityHash64(span_id)),
                                source = 'log', end_unix_ns, cityHash64(method), cityHash64(endpoint)),
                               event_type = 'api_call' AND direction = 'incoming') AS calls,
                  groupArrayIf((cityHash64(span_id), service, hop),
                               NOT (event_type = 'api_call' AND direction = 'incoming')) AS others,
                  arrayMap(c -> c.1, calls) AS spans, arrayMap(c -> c.3, calls) AS services,
                  if(arrayExists(c -> c.7, calls), arrayFilter(c -> NOT c.7, calls), []) AS of_spans,
                  arrayFilter(c -> c.5 = 'inner' OR (NOT c.7 AND has(spans, c.2)) OR arrayExists(
                      o -> o.1 = c.2 AND (o.3 = 'inner'
                           OR (has(services, o.2) AND (o.2 != c.3 OR countEqual(services, o.2) > 1))), others)
                      OR (c.7 AND arrayExists(
                          s -> s.9 = c.9 AND (s.1 = c.1 OR s.3 = c.3 OR s.10 = c.10)
                               AND s.4 <= c.8 + 5000000000 AND s.8 + 5000000000 >= c.4, of_spans)),
                      calls) AS below,
                  arrayFilter(c -> NOT has(below.6, c.6), calls) AS first_calls
              FROM $table
              WHERE trace_hash GLOBAL IN doubtful AND event_type IN ('api_call', 'action')
                AND event_time >= reach_from AND event_time < reach_to
              GROUP BY trace_hash)),
    nameless AS (
        SELECT trace_hash FROM $table AS api_call
        WHERE event_type = 'api_call' AND direction = 'incoming' AND (user_id = '' OR company_id = '') AND trace_id != ''
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)}$only),
    named AS (
        SELECT trace_hash,
               if(min(user_id) = max(user_id), any(user_id), '') AS trace_user,
               if(min(company_id) = max(company_id), any(company_id), '') AS trace_company
        FROM (SELECT trace_hash, nullIf(user_id, '') AS user_id, nullIf(company_id, '') AS company_id FROM $table
              WHERE trace_hash GLOBAL IN nameless AND (user_id != '' OR company_id != '')
                AND event_type IN ('api_call', 'action') AND event_time >= reach_from AND event_time < reach_to)
        GROUP BY trace_hash)
SELECT api_call.* EXCEPT (user_id, company_id),
       if(api_call.user_id = '', ifNull(named.trace_user, ''), api_call.user_id) AS user_id,
       if(api_call.company_id = '', ifNull(named.trace_company, ''), api_call.company_id) AS company_id,
       $aliases,
       api_call.trace_hash AS trace_hash,
       api_call.call_place IN (1, 2) OR (
           api_call.call_place = 4 AND api_call.trace_hash GLOBAL NOT IN rooted
           AND (api_call.trace_hash,
                if(api_call.source = 'log', cityHash64(api_call.span_id, api_call.service, api_call.start_unix_ns),
                   cityHash64(api_call.span_id))) GLOBAL NOT IN inner_calls) AS entry
FROM $table AS api_call GLOBAL ANY LEFT JOIN named ON api_call.trace_hash = named.trace_hash
WHERE api_call.event_type = 'api_call'
  AND api_call.event_time >= {since:DateTime64(6)} AND api_call.event_time < {until:DateTime64(6)}$only
