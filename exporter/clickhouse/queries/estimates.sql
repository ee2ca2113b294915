-- Questions whose answers say how sure they are (spec/sampling.md §11). Parameters and marks: named.sql.

-- name: totals
-- Calls, errors and error rate by $by, each with a 95 % interval that knows that the rows of one trace were kept or
-- dropped together (spec/sampling.md §11): with s the weighted sum of a trace at one probability p, sorted by p descending,
-- V = sum_k (1-p_k) s_k (s_k + 2 sum_{l>k} s_l); the error rate by linearisation, V(e - R n) / N^2. Rows at p = 1 add
-- nothing to V, so that only sampled rows are grouped by trace.
WITH sqrt(greatest(vnn, 0)) AS calls_se, sqrt(greatest(vee, 0)) AS errors_se,
     calls_se > 0 AND (sampled_traces < 30 OR calls_se / calls > 0.3) AS calls_low_confidence,
     errors_se > 0 AND (sampled_traces < 30 OR errors_se / errors > 0.3) AS errors_low_confidence,
     sqrt(greatest(vee - 2 * error_rate * ven + error_rate * error_rate * vnn, 0)) / calls AS rate_se
SELECT s.by AS by, calls,
       greatest(if(calls_low_confidence, calls * exp(-1.96 * calls_se / calls), calls - 1.96 * calls_se),
                toFloat64(rows_seen)) AS calls_low,
       if(calls_low_confidence, calls * exp(1.96 * calls_se / calls), calls + 1.96 * calls_se) AS calls_high,
       errors,
       greatest(if(errors_low_confidence, errors * exp(-1.96 * errors_se / errors), errors - 1.96 * errors_se),
                toFloat64(errors_seen)) AS errors_low,
       if(errors_low_confidence, errors * exp(1.96 * errors_se / errors), errors + 1.96 * errors_se) AS errors_high,
       error_rate, greatest(0, error_rate - 1.96 * rate_se) AS error_rate_low,
       least(1, error_rate + 1.96 * rate_se) AS error_rate_high,
       rows_seen, sampled_traces, n_eff, (calls_low_confidence OR errors_low_confidence) AS low_confidence,
       server_errors
FROM (
    SELECT $by AS by, sum(adjusted_count) AS calls,
           sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS errors, errors / calls AS error_rate,
           count() AS rows_seen, countIf(status_code >= 400 OR error_type != '') AS errors_seen,
           calls * calls / sum(adjusted_count * adjusted_count) AS n_eff,
           sumIf(adjusted_count, status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled'))) AS server_errors
    FROM $calls
      AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
    GROUP BY by) AS s
LEFT JOIN (
    SELECT by, sum(traces) AS sampled_traces, sum(nn) AS vnn, sum(ee) AS vee, sum(ne) AS ven
    FROM (
        -- the traces with one probability, nearly all: V = (1-p) s^2
        SELECT by, count() AS traces, sum((1 - p) * n * n) AS nn, sum((1 - p) * e * e) AS ee, sum((1 - p) * n * e) AS ne
        FROM (SELECT any($by) AS by, min(sampling_p) AS p, sum(adjusted_count) AS n,
                     sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS e
                FROM $calls AND sampling_p < 1
                  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
              GROUP BY cityHash64($by, $cluster) HAVING min(sampling_p) = max(sampling_p))
        GROUP BY by
        UNION ALL
        SELECT by, count() AS traces,
               sum(arraySum((p, a, ca) -> (1 - p) * a * (a + 2 * (n - ca)), ps, ns, arrayCumSum(ns))) AS nn,
               sum(arraySum((p, b, cb) -> (1 - p) * b * (b + 2 * (e - cb)), ps, es, arrayCumSum(es))) AS ee,
               sum(arraySum((p, a, b, ca, cb) -> (1 - p) * (a * b + a * (e - cb) + b * (n - ca)),
                            ps, ns, es, arrayCumSum(ns), arrayCumSum(es))) AS ne
        FROM (
            SELECT any(by_p) AS by, arraySort(x -> -x.1, groupArray((p, n_p, e_p))) AS parts, parts.1 AS ps,
                   parts.2 AS ns, parts.3 AS es, arraySum(ns) AS n, arraySum(es) AS e
            FROM (
                SELECT any($by) AS by_p, cityHash64($by, $cluster) AS cluster,
                       sampling_p AS p, sum(adjusted_count) AS n_p,
                       sumIf(adjusted_count, status_code >= 400 OR error_type != '') AS e_p
                FROM $calls AND sampling_p < 1
                  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
                  AND cluster GLOBAL IN (
                    SELECT cityHash64($by, $cluster) AS several
                    FROM $calls AND sampling_p < 1
                  AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
                    GROUP BY several HAVING min(sampling_p) < max(sampling_p))
                GROUP BY cluster, p)
            GROUP BY cluster)
        GROUP BY by)
    GROUP BY by) AS v ON s.by = v.by
ORDER BY calls DESC, by LIMIT {limit:UInt32}

-- name: percentile
-- The duration in ms below which a share {q} of incoming calls lies, by $by, with Woodruff's 95 % interval
-- (spec/sampling.md §11): the percentiles at q -+ 1.96 standard errors of the share of calls up to it, which follows traces as in `totals`.
WITH placed AS (
    SELECT by, d, sum(a) OVER (PARTITION BY by ORDER BY d) AS below, sum(a) OVER (PARTITION BY by) AS everything, n
    FROM (SELECT $by AS by, assumeNotNull(duration_ms) AS d, sum(adjusted_count) AS a, count() AS n
          FROM $calls AND duration_ms IS NOT NULL
            AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where
          GROUP BY by, d)),
estimated AS (
    SELECT by, any(everything) AS total, minIf(d, below >= {q:Float64} * everything * (1 - 1e-12)) AS value, sum(n) AS seen
    FROM placed GROUP BY by),
spread AS (
    SELECT of AS by, count() AS traces,
           sqrt(greatest(0, sum(arraySum((p, e, c) -> (1 - p) * e * (e + 2 * (whole - c)), ps, es, arrayCumSum(es))))) AS se
    FROM (SELECT any(of_p) AS of, arraySort(x -> -x.1, groupArray((p_, e_p))) AS parts, parts.1 AS ps, parts.2 AS es,
                 arraySum(es) AS whole
          FROM (SELECT any(by_) AS of_p, cluster, p_, sum(a_ * ((d_ <= value) - {q:Float64}) / total) AS e_p
                FROM (SELECT $by AS by_, cityHash64($by, $cluster) AS cluster, sampling_p AS p_, adjusted_count AS a_,
                             assumeNotNull(duration_ms) AS d_
                      FROM $calls AND duration_ms IS NOT NULL
                        AND sampling_p < 1
                        AND event_time >= {since:DateTime64(6)} AND event_time < {until:DateTime64(6)} $where) AS r
                INNER JOIN estimated ON estimated.by = r.by_
                GROUP BY cluster, p_)
          GROUP BY cluster)
    GROUP BY of)
SELECT placed.by AS by, round(any(value), 3) AS percentile_ms,
       round(minIf(d, below >= greatest(0, {q:Float64} - 1.96 * se) * everything * (1 - 1e-12)), 3) AS low,
       round(minIf(d, below >= least(1, {q:Float64} + 1.96 * se) * everything * (1 - 1e-12)), 3) AS high,
       any(total) AS calls, any(seen) AS rows_seen, any(traces) AS sampled_traces,
       any(se) > 0 AND (sampled_traces < 30 OR {q:Float64} - 1.96 * any(se) < 0 OR {q:Float64} + 1.96 * any(se) > 1)
           AS low_confidence
FROM placed INNER JOIN estimated ON estimated.by = placed.by LEFT JOIN spread ON spread.by = placed.by
GROUP BY placed.by ORDER BY calls DESC, by LIMIT {limit:UInt32}
