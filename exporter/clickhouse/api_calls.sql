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
--   twins     of a call that several instrumentations of one process told of beside each other, one is the entry: the
--             rule is that of exporter/twins.py, which says it in words; only traces with several calls that may be
--             entries are looked at, and of these only spans that have parent, service and method in common
-- Traces are compared by their 64-bit hashes, which the table has; two of one question that share one are unheard of.
-- $only: conditions on the columns of `api_call`, of a question that wants some; of others nothing is resolved. The view has
-- none. They are about single rows, and not about the names that the rest of a trace may give.
-- A trace may be everything that a load tester did, half a million spans. So nothing here compares each with each, for
-- which all are copied for each: arrays are sorted so that a span comes right before those that look for it (arrayFill).
-- What is compared is bounded: 10,000 lines with 256 spans, of 48 bytes, and 32 twins with each other.
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
        SELECT trace_hash, arrayJoin(if(length(below) < length(all_calls), below, arraySlice(all_calls, 2))) AS call_hash
        FROM (SELECT trace_hash, arrayDistinct(arraySort(calls).2) AS all_calls,
                  arrayDistinct(arrayConcat(
                      arrayFilter(c -> c.10, calls).2,
                      arrayFilter((s, a) -> s.2 = 1 AND a.2 = 0 AND a.1 = s.1 AND (a.3 > 1 OR (a.3 = 1 AND a.4 != s.4)),
                                  by_span, arrayFill(s -> s.2 = 0, by_span)).5,
                      arrayFilter(c -> arrayExists(
                          s -> s.7 = c.7 AND (s.5 = c.5 OR s.4 = c.4 OR s.8 = c.8)
                               AND s.1 <= c.3 + 5000000000 AND s.3 + 5000000000 >= c.1, of_spans), lines).2)) AS below
              FROM (SELECT trace_hash, calls,
                        arraySlice(arraySort(arrayFilter(c -> c.9, calls)), 1, 10000) AS lines,
                        arraySlice(arraySort(arrayFilter(c -> NOT c.9, arraySlice(calls, 1, if(empty(lines), 0, length(calls))))),
                                   1, 256) AS of_spans,
                        -- By span, itself before those below it: span, is below, how sure it is that calls below it are
                        -- inner (3 all, 2 all by its service, 1 those of other services), service, id of the call below.
                        arraySort(arrayConcat(
                            arrayMap(c -> (c.5, 0::UInt8, 3::UInt8, c.4, 0::UInt64), calls),
                            arrayMap(c -> (c.6, 0::UInt8, 3::UInt8, c.4, 0::UInt64), arrayFilter(c -> c.10, calls)),
                            arrayMap((s, r) -> (s.3, 0::UInt8, multiIf(s.4, 3, r.1 = s.1 AND r.2 = 0, least(r.3, 2), 0)::UInt8,
                                                s.1, 0::UInt64),
                                     by_service, reached),
                            arrayMap(c -> (c.6, 1::UInt8, 0::UInt8, c.4, c.2), arrayFilter(c -> NOT c.9, calls)))) AS by_span
                    FROM (SELECT trace_hash, calls, by_service,
                              arrayFill((r, s) -> s.2 = 0, arrayZip(by_service.1, by_service.2, arrayEnumerateUniq(by_service.1)),
                                        by_service) AS reached
                          FROM (SELECT trace_hash,
                                    -- start, id, end, service, span, parent, method, route, is a line, is known to be inner
                                    groupArrayIf((start_unix_ns,
                                                  if(source = 'log', cityHash64(span_id, service, start_unix_ns), cityHash64(span_id)),
                                                  end_unix_ns, cityHash64(service), cityHash64(span_id), cityHash64(parent_span_id),
                                                  cityHash64(method), cityHash64(endpoint), source = 'log', hop = 'inner'),
                                                 event_type = 'api_call' AND direction = 'incoming') AS calls,
                                    groupArrayIf((cityHash64(service), 1::UInt8, cityHash64(span_id), hop = 'inner'),
                                                 NOT (event_type = 'api_call' AND direction = 'incoming')) AS others,
                                    -- Of each of the other spans, how many calls reached its service: calls before others.
                                    arraySort(arrayConcat(
                                        others, arrayMap(c -> (c.4, 0::UInt8, 0::UInt64, 0::UInt8), calls))) AS by_service
                                FROM $table
                                WHERE trace_hash GLOBAL IN doubtful AND event_type IN ('api_call', 'action')
                                  AND event_time >= reach_from AND event_time < reach_to
                                GROUP BY trace_hash))))),
    several AS (
        SELECT trace_hash FROM $table
        WHERE event_type = 'api_call' AND call_place IN (2, 4) AND event_time >= reach_from AND event_time < reach_to
        GROUP BY trace_hash HAVING count() > 1),
    beside AS (
        SELECT trace_hash, cityHash64(parent_span_id, service, method) AS siblings FROM $table
        WHERE event_type = 'api_call' AND call_place IN (2, 4) AND source = 'span'
          AND event_time >= reach_from AND event_time < reach_to AND trace_hash GLOBAL IN several
        GROUP BY trace_hash, siblings HAVING min(cityHash64(resource)) != max(cityHash64(resource))),
    twins AS (
        SELECT trace_hash, arrayJoin(if(length(calls) > 32, of_others, of_firsts)) AS call_hash
        FROM (SELECT trace_hash, calls,
                  arraySort(arrayMap((f, c, n) -> (f.1, c.5, c.6, n, cityHash64(c.4)), firsts, some, arrayEnumerate(some))) AS by_call,
                  arrayFilter((c, n) -> n > 1, by_call, arrayEnumerateUniq(by_call.1)).5 AS of_firsts,
                  arrayMap(c -> cityHash64(c.4), arrayFilter(c -> c.3 != back[most].3, calls)) AS of_others
              FROM (SELECT trace_hash, calls, some, back,
                        arrayMax(arrayZip(arrayEnumerateUniq(back.3), arrayEnumerate(back))).2 AS most,
                        -- Of each the number of the first span of its call, and its scope: a call has one of each.
                        arrayFold((firsts, c) -> arrayPushBack(firsts, (if((arrayFirst(
                                      t -> firsts[t].1 = t AND NOT has(firsts, (t, c.2)), c.3) AS first) = 0, c.1, first), c.2)),
                                  around, []::Array(Tuple(UInt32, UInt64))) AS firsts
                    FROM (SELECT trace_hash, calls, some, arrayReverse(calls) AS back,
                              -- Number, scope, and the numbers of those it may be one call with, what ends soonest first.
                              arrayMap(c -> (c.2, c.4, arraySort(t -> (t.3, t.2), arrayFilter(
                                  t -> t.2 < c.2 AND t.4 != c.4 AND c.1 <= t.3 AND t.1 <= c.3
                                       AND (c.3 <= t.3 + 1000000 OR (c.1 <= t.1 + 1000000 AND t.3 <= c.3 + 1000000))
                                       AND (t.5 = c.5 OR t.5 = 0 OR c.5 = 0) AND (t.6 = c.6 OR t.6 = 0 OR c.6 = 0)
                                       AND (t.7 = c.7 OR t.7 = 0 OR c.7 = 0) AND (t.8[1] = c.8[1] OR t.8[1] = 0 OR c.8[1] = 0)
                                       AND multiIf(t.8[2] != 0 AND c.8[2] != 0, t.8[2] = c.8[2], t.8[3] != 0 AND c.8[3] != 0, t.8[3] = c.8[3],
                                                   t.8[4] != 0 AND c.8[4] != 0, t.8[4] = c.8[4], t.8[5] != 0 AND c.8[5] != 0, t.8[5] = c.8[5],
                                                   t.8[6] != c.8[6] AND t.8[6] != 0 AND c.8[6] != 0, 0,
                                                   t.8[6] = c.8[6] AND t.8[6] != 0 AND t.8[7] = c.8[7] AND t.8[7] != 0, 1,
                                                   t.8[8] = c.8[8] OR t.8[8] = 0 OR c.8[8] = 0),
                                  numbered)).2), numbered) AS around
                          FROM (SELECT trace_hash, calls, arraySlice(calls, 1, 32) AS some,
                                    arrayMap((c, n) -> (c.1, n, c.7, c.8, c.9, c.10, c.11, c.12), some, arrayEnumerate(some)) AS numbered
                                FROM (SELECT trace_hash,
                                          -- start, -end, scope, span, is no sure entry, calls it stands for, end, scope, path,
                                          -- status, environment, place
                                          arraySort(groupArray((start_unix_ns, bitNot(end_unix_ns), scope, span_id,
                                              call_place != 2, adjusted_count, end_unix_ns, cityHash64(scope), path, status_code,
                                              cityHash64(environment) * (environment != ''), place))) AS calls
                                      FROM (SELECT trace_hash, cityHash64(parent_span_id, service, method) AS siblings,
                                                start_unix_ns, end_unix_ns, span_id, call_place, adjusted_count, status_code,
                                                environment, JSONExtractString(resource, 'scope', 'name') AS scope,
                                                if(has(flags, 'uri_from_route') OR uri = '', 0,
                                                   cityHash64(trim(TRAILING '/' FROM extract(uri, '^(?:[^/?#]*//[^/?#]*)?([^?#]*)')))) AS path,
                                                arrayMap(n -> JSONExtractRaw(resource, 'resource', n), [
                                                    'service.namespace', 'k8s.pod.uid', 'k8s.pod.name', 'container.id',
                                                    'faas.instance', 'host.name', 'process.pid', 'service.instance.id']) AS told,
                                                arrayMap(v -> if(v IN ('', '""'), 0, cityHash64(v)), told) AS place
                                            FROM $table
                                            WHERE (trace_hash, siblings) GLOBAL IN beside AND parent_span_id != '' AND method != ''
                                              AND event_type = 'api_call' AND call_place IN (2, 4) AND source = 'span'
                                              AND event_time >= reach_from AND event_time < reach_to)
                                      GROUP BY trace_hash, siblings HAVING uniqExact(scope) > 1)))))),
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
                   cityHash64(api_call.span_id))) GLOBAL NOT IN inner_calls
           AND (api_call.source = 'log' OR (api_call.trace_hash, cityHash64(api_call.span_id)) GLOBAL NOT IN twins)) AS entry
FROM $table AS api_call GLOBAL ANY LEFT JOIN named ON api_call.trace_hash = named.trace_hash
WHERE api_call.event_type = 'api_call'
  AND api_call.event_time >= {since:DateTime64(6)} AND api_call.event_time < {until:DateTime64(6)}$only
