-- The columns of `api_minutes`: API calls by minute, all that were received, kept by sampling or not; the same on the
-- embedded engine, a server and a cluster (the statement around them: minutes_table.py). Rows with equal keys are added
-- up by the store when it merges, and by hours when they are some days old: ask for sums, never for count().
-- One column a line. The keys come first, up to `batch_id`.
    minute            DateTime('UTC') CODEC(Delta(4), ZSTD(1)),   -- when the call began; of old rows the hour
    company_id        LowCardinality(String),
    service           LowCardinality(String),
    method            LowCardinality(String),
    endpoint          LowCardinality(String),
    status_code       UInt16 CODEC(ZSTD(1)),
    error_type        LowCardinality(String),
    direction         LowCardinality(String),
    hop               LowCardinality(String),                     -- as known on arrival: entry | inner | open | ''
    plan              LowCardinality(String),
    application_id    LowCardinality(String),
    api_version       LowCardinality(String),
    environment       LowCardinality(String),
    region            LowCardinality(String),
    tenant            LowCardinality(String),
    unseen            UInt8 CODEC(ZSTD(1)),                       -- 1: dropped by a rate of 0 or the like; no event tells of them
    estimated         UInt8 CODEC(ZSTD(1)),                       -- 1: counted by the weights of what was kept (sampling.count: kept)
    folded            UInt8 CODEC(ZSTD(1)),                       -- 1: some texts are '(other)', 2: nearly all are: there were too many
    batch_id          UInt64 CODEC(ZSTD(1)),                      -- 0; a row without calls says that the batch of this id is counted
    -- what is added up
    records           SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)), -- as received
    kept              SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)), -- of these, rows of api_events
    calls             SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)), -- what they stood for on arrival
    duration_sum_ms   SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)), -- of the calls whose duration is known
    durations         SimpleAggregateFunction(sumMap, Map(Int16, Float64)) CODEC(ZSTD(1)), -- bucket -> calls, see counted.py
    written_at        SimpleAggregateFunction(max, DateTime('UTC')) DEFAULT now() CODEC(ZSTD(1)),
