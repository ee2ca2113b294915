-- Questions whose answers say how sure they are (spec/sampling.md §11). Parameters and marks: named.sql.

-- name: totals
-- Calls, errors and error rate by $by, each with a 95 % interval where anything was sampled (spec/sampling.md §11).
-- What is kept or dropped together has one draw, so that the error follows traces: with s the weighted sum of a trace at
-- one probability p, sorted by p descending, V = sum_k (1-p_k) s_k (s_k + 2 sum_{l>k} s_l). Rows at p = 1 add nothing.
-- Of a group with many sampled rows a part of the traces, chosen by hash, says how much they vary: `thinned`, one in m.
-- `strata`: rules and probabilities under which calls were dropped, and the rules seen beside them in one $unit. A group
-- that has only such rules may have had calls under the stratum of which none was kept: `unseen`.
WITH
    (SELECT (arrayPushFront(groupArray(named), '\0'), arrayPushFront(groupArray(part), toUInt64(1)))
     FROM (SELECT toString($by) AS named, countIf(sampling_p < 1) AS drawn, sum(drawn) OVER () AS all_drawn,
                  greatest(intDiv(drawn, $traces_read), if(drawn > 64, intDiv(all_drawn, $most_read), 1)) AS part
           FROM api_events
           WHERE event_type = 'api_call' AND direction = 'incoming'
             AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
           GROUP BY named) WHERE part > 1) AS thinned,
    units AS (
        SELECT toString($unit) AS unit, sampling_rule AS rule, groupUniqArrayIf(4)(sampling_p, sampling_p < 1) AS ps,
               groupUniqArray(concat(sampling_rule, if(sampling_p < 1, ' in part', ' whole'))) AS rules,
               countIf($failed AND sampling_p < 1) AS bad, countIf(NOT $failed AND sampling_p < 1) AS good
        FROM api_events
        WHERE event_type = 'api_call' AND direction = 'incoming'
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $outcomes
        GROUP BY unit, rule),
    (SELECT groupArrayArray(if(length(of_rule) > 3,
                [(rule, 0., arrayReduce('median', of_rule.1), arrayDistinct(arrayFlatten(of_rule.2)), with_bad, with_good)],
                arrayMap(s -> (rule, s.1, s.1, s.2, with_bad, with_good), of_rule)))
     FROM (SELECT rule, groupArray((p, beside)) AS of_rule, max(any_bad) AS with_bad, max(any_good) AS with_good
           FROM (SELECT rule, p, groupUniqArrayArray(beside_it) AS beside, max(bad) > 0 AS any_bad, max(good) > 0 AS any_good
                 FROM units ARRAY JOIN ps AS p
                 INNER JOIN (SELECT unit, groupUniqArrayArray(rules) AS beside_it FROM units GROUP BY unit) AS profiles USING (unit)
                 GROUP BY rule, p)
           GROUP BY rule)) AS strata,
    called AS (
        SELECT $by AS by, transform(toString(by), thinned.1, thinned.2, toUInt64(1)) AS m, $cluster AS draw,
               if(sampling_p < 1 AND draw % m = 0, draw, 0) AS trace, sampling_rule AS rule, sampling_p AS p,
               adjusted_count AS stands_for, $failed AS bad,
               status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled')) AS worse
        FROM $calls
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where),
    drawn AS (
        SELECT by, m, trace, rule, p, sum(stands_for) AS dn, sumIf(stands_for, bad) AS de, count() AS drows,
               countIf(bad) AS dbad, sum(stands_for * stands_for) AS dsquares, sumIf(stands_for, worse) AS dserver
        FROM called GROUP BY by, m, trace, rule, p)
SELECT by, if(few, NULL, estimated) AS calls, if(exact, NULL, bounds[1].1) AS calls_low, if(exact, NULL, bounds[1].2) AS calls_high,
       if(few AND NOT errors_exact, NULL, failed) AS errors, if(errors_exact, NULL, bounds[2].1) AS errors_low,
       if(errors_exact, NULL, bounds[2].2) AS errors_high,
       if(few AND rate_high - rate_low > 0.3, NULL, failed / estimated) AS error_rate,
       if(exact, NULL, rate_low) AS error_rate_low, if(exact, NULL, rate_high) AS error_rate_high,
       rows_seen, sampled_traces, n_eff,
       NOT exact AND (sampled_traces < 30 OR sqrt(vnn) > 0.3 * estimated OR (NOT errors_exact AND sqrt(vee) > 0.3 * failed))
           AS low_confidence,
       multiIf(exact, 'exact', few, 'too few', 'estimate') AS answer, if(few, NULL, server) AS server_errors
FROM (
    SELECT *, exact_parts AND unseen[1] = 0 AS exact, vee = 0 AND unseen[2] = 0 AS errors_exact,
           -- (sampled sum, V, sum of squares of traces, largest trace, traces, sure of, rows of the sampled, unseen)
           arrayMap(f -> (toFloat64(f.1), toFloat64(f.2), toFloat64(f.3), toFloat64(f.4), toFloat64(f.5), toFloat64(f.6),
                          toFloat64(f.7), toFloat64(f.8)), arrayZip(
               [n_sampled, e_sampled, n_sampled - e_sampled], [vnn, vee, vgg], [wnn, wee, wgg],
               [largest_n, largest_e, largest_g], [sampled_traces, traces_e, traces_g],
               [estimated - n_sampled, failed - e_sampled, estimated - n_sampled - (failed - e_sampled)],
               [rows_sampled, bad_sampled, rows_sampled - bad_sampled], unseen)) AS parts,
           arrayMap(q -> if(q.5 > 1, greatest(0, q.5 * q.3 / (q.1 * q.1) - 1) * q.5 / (q.5 - 1), 0.), parts) AS spreads,
           arrayMap((q, c) -> if(q.5 > 1, least(0.5, 2 * c / ((1 + c) * (q.5 - 1))), 0.), parts, spreads) AS doubts,
           arrayMap(d -> 1.96 + d * (2.3724 + d * (2.8225 + d * 2.5561)), doubts) AS ts,
           arrayMap((q, c, t) -> if(q.5 = 0, (q.6, q.6 + q.8, 0.), (
               q.6 + greatest(q.7, (q.1 + q.2 / q.1 / 2)
                   * pow(greatest(0, 1 - 1 / (9 * (q.1 * q.1 / q.2 + 0.5)) - t / (3 * sqrt(q.1 * q.1 / q.2 + 0.5))), 3)),
               q.6 + q.1 + sqrt(q.8 * q.8 + pow(arrayFirst(x -> 1, arrayMap((y, v) ->
                   y * pow(1 - v / (9 * y * y) + t * sqrt(v) / (3 * y), 3) - q.1,
                   [q.1 + (0.5 + c / (1 + c)) * q.4], [q.2 + q.2 / q.3 * (0.5 + c / (1 + c)) * q.4 * q.4])), 2)),
               q.5 / (1 + c))), parts, spreads, ts) AS bounds,
           NOT exact AND bounds[1].3 < 5 AND bounds[1].2 > 1.5 * greatest(1, bounds[1].1) AS few,
           greatest(0, estimated - failed) AS passed,
           if(vee > 0 AND vgg > 0, (vne - vee) / sqrt(vee * vgg) * greatest(0, 1 - 4 / sampled_traces), 0.) AS rho,
           log(failed / passed) AS odds,
           (log(failed / bounds[2].1), log(bounds[3].2 / passed)) AS under, (log(bounds[2].2 / failed), log(passed / bounds[3].1)) AS over,
           multiIf(failed = 0, 0., passed <= 1e-9 * estimated, failed / (failed + bounds[3].2),
                   1 / (1 + exp(sqrt(greatest(0, under.1 * under.1 + under.2 * under.2 - 2 * rho * under.1 * under.2)) - odds)))
               AS rate_low,
           multiIf(passed <= 1e-9 * estimated, 1., failed = 0, bounds[2].2 / (bounds[2].2 + passed),
                   1 / (1 + exp(-odds - sqrt(greatest(0, over.1 * over.1 + over.2 * over.2 - 2 * rho * over.1 * over.2)))))
               AS rate_high
    FROM (
        SELECT *, vnn = 0 AS exact_parts, arrayDistinct(arrayMap(h -> concat(h.1, if(h.2 < 1, ' in part', ' whole')), strata_here)) AS rules_here,
               arrayMap(s -> (3.689 / -log1p(-s.3), arrayExists(h -> h.1 = s.1 AND ($any_p OR s.2 = 0 OR h.2 = s.2), strata_here),
                              hasAll(s.4, rules_here), s.5 AND NOT arrayExists(h -> h.1 = s.1 AND h.3, strata_here),
                              s.6 AND NOT arrayExists(h -> h.1 = s.1 AND h.4, strata_here)), strata) AS chances,
               [arrayMax(arrayPushFront(arrayMap(c -> if(NOT c.2 AND c.3, c.1, 0.), chances), 0.)),
                arrayMax(arrayPushFront(arrayMap(c -> if(c.4 AND (c.2 OR c.3), c.1, 0.), chances), 0.)),
                arrayMax(arrayPushFront(arrayMap(c -> if(c.5 AND (c.2 OR c.3), c.1, 0.), chances), 0.))] AS unseen_traces,
               arrayMap(u -> $possible * u * greatest(1, total_sampled / greatest(1, total_traces)), unseen_traces) AS unseen,
               greatest(0, vnn - 2 * vne + vee) AS vgg, greatest(0, wnn - 2 * wne + wee) AS wgg,
               sum(rows_sampled) OVER () AS total_sampled, sum(sampled_traces) OVER () AS total_traces
        FROM (
            SELECT by, sum(n) AS estimated, sum(e) AS failed, sum(server_) AS server, sum(rows_) AS rows_seen,
                   estimated * estimated / sum(squares_) AS n_eff,
                   sum(n_s) AS n_sampled, sum(e_s) AS e_sampled, sum(rows_s) AS rows_sampled, sum(bad_s) AS bad_sampled,
                   max(m_) * countIf(trace != 0) AS sampled_traces, max(m_) * countIf(trace != 0 AND e > 0) AS traces_e,
                   max(m_) * countIf(trace != 0 AND n > e * (1 + 1e-9)) AS traces_g,
                   max(m_) * sum(nn) AS vnn, max(m_) * sum(ee) AS vee, max(m_) * sum(ne) AS vne,
                   max(m_) * sumIf(n * n, trace != 0) AS wnn, max(m_) * sumIf(e * e, trace != 0) AS wee,
                   max(m_) * sumIf(n * e, trace != 0) AS wne,
                   maxIf(n, trace != 0) AS largest_n, maxIf(e, trace != 0) AS largest_e, maxIf(n - e, trace != 0) AS largest_g,
                   groupUniqArrayArray(here) AS strata_here
            FROM (
                SELECT by, trace, max(m) AS m_, arraySort(x -> -x.1, groupArray((p, dn, de))) AS drawn_parts,
                       drawn_parts.1 AS ps, drawn_parts.2 AS ns, drawn_parts.3 AS es, sum(dn) AS n, sum(de) AS e,
                       sumIf(dn, p < 1) AS n_s, sumIf(de, p < 1) AS e_s, sumIf(drows, p < 1) AS rows_s,
                       sumIf(dbad, p < 1) AS bad_s, sum(dserver) AS server_, sum(drows) AS rows_, sum(dsquares) AS squares_,
                       groupUniqArray((rule, p, dbad > 0 AND p < 1, dbad < drows AND p < 1)) AS here,
                       if(trace = 0, 0, arraySum((p, a, ca) -> (1 - p) * a * (a + 2 * (n - ca)), ps, ns, arrayCumSum(ns))) AS nn,
                       if(trace = 0, 0, arraySum((p, b, cb) -> (1 - p) * b * (b + 2 * (e - cb)), ps, es, arrayCumSum(es))) AS ee,
                       if(trace = 0, 0, arraySum((p, a, b, ca, cb) -> (1 - p) * (a * b + a * (e - cb) + b * (n - ca)),
                                                 ps, ns, es, arrayCumSum(ns), arrayCumSum(es))) AS ne
                FROM drawn GROUP BY by, trace)
            GROUP BY by)))
ORDER BY estimated DESC, by LIMIT {limit:UInt32}

-- name: percentile
-- The duration in ms below which a share {q} of incoming calls lies, by $by, and the durations between which it lies in 95
-- of 100 samples (spec/sampling.md §11): those up to which a share {q} of all calls may lie. Durations are read to 0.2 %.
-- One pass: cells of (group, trace, duration); of groups with many sampled rows, traces that are not read share trace 0.
WITH
    (SELECT (arrayPushFront(groupArray(named), '\0'), arrayPushFront(groupArray(part), toUInt64(1)))
     FROM (SELECT toString($by) AS named, countIf(sampling_p < 1) AS drawn, sum(drawn) OVER () AS all_drawn,
                  greatest(intDiv(drawn, $traces_read), if(drawn > 64, intDiv(all_drawn, $most_read), 1)) AS part
           FROM api_events
           WHERE event_type = 'api_call' AND direction = 'incoming'
             AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
           GROUP BY named) WHERE part > 1) AS thinned,
    called AS (
        SELECT $by AS by, transform(toString(by), thinned.1, thinned.2, toUInt64(1)) AS m, $cluster AS draw,
               if(sampling_p < 1 AND draw % m = 0, draw, 0) AS trace, sampling_p AS p, adjusted_count AS a,
               assumeNotNull(duration_ms) AS d, toInt32(floor(log(greatest(d, 1e-6)) * 500)) AS bin
        FROM $calls AND duration_ms IS NOT NULL
          AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where),
    cells AS (
        SELECT by, m, trace, max(d) AS longest, sumIf(a, p = 1) AS sure, sumIf(a, p < 1) AS drawn,
               sumIf((1 - p) * a * a, p < 1) AS variance, sumIf(sqrt(1 - p) * a, p < 1) AS root, maxIf(a, p < 1) AS most,
               count() AS rows
        FROM called GROUP BY by, m, trace, bin)
SELECT by, if(few, NULL, round(value, 3)) AS percentile_ms, if(isFinite(low_), round(low_, 3), NULL) AS low,
       if(isFinite(high_), round(high_, 3), NULL) AS high, total AS calls, rows_seen, sampled_traces,
       heaviest > 0 AND (sampled_traces < 30 OR low IS NULL OR high IS NULL) AS low_confidence,
       multiIf(heaviest = 0, 'exact', few, 'too few', 'estimate') AS answer
FROM (
    SELECT *, if(heaviest = 0, value, ds[arrayFirstIndex(s -> s.2 >= {q:Float64}, shares)]) AS found,
           if(heaviest > 0 AND found = ds[1], -inf, found) AS low_,
           if(heaviest = 0, value, arrayFirstOrNull((d, s) -> s.1 >= {q:Float64}, ds, shares)) AS reached,
           ifNull(reached, inf) AS high_,
           heaviest > 0 AND ((NOT isFinite(high_) AND (1 - {q:Float64}) * total < heaviest)
                             OR (NOT isFinite(low_) AND {q:Float64} * total < heaviest)
                             OR (sampled_traces < 5 AND whole_drawn > 0.3 * total)) AS few
    FROM (
        SELECT *, log(0.025) / log1p(-1 / greatest(heaviest, 1.000001)) AS unseen,
               arrayMap((x, y, v) -> $side, xs, ys, vs) AS below,
               arrayMap((x, y, v) -> $side, arrayMap(x -> greatest(0, whole_sure - x), xs),
                        arrayMap(y -> greatest(0, whole_drawn - y), ys),
                        arrayMap(v -> greatest(0, whole_variance - v), vs)) AS above,
               if(heaviest = 0, [], arrayMap((b, a) -> if(a.1 <= 1e-9 * b.1, (b.1 / (b.1 + a.3), 1.), (
                   if(b.2 > 0, 1 / (1 + exp(sqrt(pow(log(b.1 / b.2), 2) + pow(log(a.3 / a.1), 2)) - log(b.1 / a.1))), 0.),
                   if(a.2 > 0, 1 / (1 + exp(-log(b.1 / a.1) - sqrt(pow(log(b.3 / b.1), 2) + pow(log(a.1 / a.2), 2)))), 1.))),
                   below, above)) AS shares
        FROM (
            SELECT *, if(alone > 0, greatest(1, arraySum(x -> x * x,
                             arrayReduce('sumMap', arrayMap(c -> [c.6], read), arrayMap(c -> [c.5 * ((c.1 <= value) - {q:Float64})], read)).2)
                             / alone), 1.) AS effect,
                   least(0.5, 2 * (1 - 1 / effect) / greatest(1, scale * least(
                       arrayUniq(arrayMap(c -> c.6, arrayFilter(c -> c.1 <= value, read))),
                       arrayUniq(arrayMap(c -> c.6, arrayFilter(c -> c.1 > value, read)))) - 1.)) AS doubt,
                   1.96 + doubt * (2.3724 + doubt * (2.8225 + doubt * 2.5561)) AS t
            FROM (
                SELECT by, max(m) AS scale, arraySort(groupArray((longest, sure, drawn, variance, root, trace))) AS sorted,
                       sorted.1 AS ds, arrayCumSum(sorted.2) AS xs, arrayCumSum(sorted.3) AS ys, arrayCumSum(sorted.4) AS vs,
                       sum(sure) AS whole_sure, sum(drawn) AS whole_drawn, sum(variance) AS whole_variance,
                       whole_sure + whole_drawn AS total, max(most) AS heaviest, sum(rows) AS rows_seen,
                       scale * uniqExactIf(trace, trace != 0) AS sampled_traces,
                       ds[arrayFirstIndex((x, y) -> x + y >= {q:Float64} * total * (1 - 1e-12), xs, ys)] AS value,
                       arrayFilter(c -> c.6 != 0, sorted) AS read,
                       arraySum(c -> c.4 * pow((c.1 <= value) - {q:Float64}, 2), read) AS alone
                FROM cells GROUP BY by))))
ORDER BY total DESC, by LIMIT {limit:UInt32}
