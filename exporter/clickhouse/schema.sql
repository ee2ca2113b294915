-- The columns of `api_events`, one wide table for API calls, actions and logs; the same on the embedded engine, a server
-- and a cluster (the statement around them: schema.py). A plain count() counts every event once; `weight` and
-- `adjusted_count` say how many calls an event stands for. One column a line: a new line is added to existing tables.
    -- identity and time
    event_type        LowCardinality(String),                     -- api_call | action | log
    event_time        DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)), -- start; the receive time when the sender's clock is ahead
    received_at       DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)), -- our clock
    batch_id          UInt64 CODEC(ZSTD(1)),                      -- the batch that brought the row
    event_id          String CODEC(ZSTD(1)),                      -- transaction id: UUIDv5 of the content
    source            LowCardinality(String),                     -- span | log
    tenant            LowCardinality(String),
    start_unix_ns     UInt64 CODEC(Delta(8), ZSTD(1)),            -- the sender's clock as sent
    end_unix_ns       UInt64 CODEC(Delta(8), ZSTD(1)),
    -- correlation
    trace_id          String CODEC(ZSTD(1)),                      -- 32 hex digits, '' when absent
    span_id           String CODEC(ZSTD(1)),                      -- 16 hex digits, '' when absent
    parent_span_id    String CODEC(ZSTD(1)),
    request_id        String CODEC(ZSTD(1)),
    trace_hash        UInt64 MATERIALIZED cityHash64(tenant, if(trace_id = '', event_id, trace_id)) CODEC(ZSTD(1)), -- of the trace, of a row without one its own
    -- who
    company_id        LowCardinality(String),
    user_id           String CODEC(ZSTD(1)),
    session_id        String CODEC(ZSTD(1)),
    subscription_id   LowCardinality(String),
    application_id    LowCardinality(String),
    client_id         LowCardinality(String),
    plan              LowCardinality(String),
    -- where
    service           LowCardinality(String),
    environment       LowCardinality(String),
    region            LowCardinality(String),
    resource          LowCardinality(String),                     -- JSON text {"resource": {..}, "scope": {..}}
    -- the call
    direction         LowCardinality(String),                     -- incoming | outgoing | internal | ''
    hop               LowCardinality(String),                     -- of incoming calls entry | inner | open; inner below one
    call_place        UInt8 MATERIALIZED multiIf(event_type != 'api_call' OR direction != 'incoming', 0, hop = 'inner', 3, parent_span_id = '' AND source = 'span' AND trace_id != '', 1, hop = 'entry' OR trace_id = '', 2, 4) CODEC(ZSTD(1)), -- of incoming calls: 1 the root of its trace, 2 an entry all the same, 3 inner, 4 its trace tells
    method            LowCardinality(String),
    endpoint          LowCardinality(String),                     -- route template
    uri               String CODEC(ZSTD(1)),
    api_version       LowCardinality(String),
    status_code       UInt16 CODEC(ZSTD(1)),                      -- 0: no response was seen
    error_type        LowCardinality(String),                     -- validation, auth, rate_limit, upstream, ..
    duration_ms       Nullable(Float64) CODEC(ZSTD(1)),           -- NULL when unknown
    name              LowCardinality(String),                     -- span name
    span_status       UInt8 CODEC(ZSTD(1)),                       -- 0 unset, 1 ok, 2 error
    links             String CODEC(ZSTD(1)),                      -- JSON array text
    action            LowCardinality(String),                     -- action name
    family            LowCardinality(String),                     -- of an action: db, messaging, genai, ..
    -- client
    ip                String CODEC(ZSTD(1)),                      -- the caller's
    response_ip       String CODEC(ZSTD(1)),                      -- the callee's
    user_agent        LowCardinality(String),
    -- payload
    request_headers   Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    response_headers  Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    request_body      String CODEC(ZSTD(3)),
    request_body_encoding LowCardinality(String),                 -- json | base64 | ''
    response_body     String CODEC(ZSTD(3)),
    response_body_encoding LowCardinality(String),
    metadata          JSON(max_dynamic_paths = 128) CODEC(ZSTD(1)), -- everything else, flat keys
    flags             Array(LowCardinality(String)) CODEC(ZSTD(1)), -- clock_skew, late, body_truncated, ..
    -- logs
    severity_number   UInt8 CODEC(ZSTD(1)),
    severity          LowCardinality(String),
    event_name        LowCardinality(String),
    body              String CODEC(ZSTD(1)),
    body_encoding     LowCardinality(String),                     -- json | text | base64 | ''
    -- sampling
    weight            UInt32 DEFAULT 1 CODEC(ZSTD(1)),            -- whole number, for sum() and quantile*Weighted()
    adjusted_count    Float64 DEFAULT 1 CODEC(ZSTD(1)),           -- exact 1/p
    sampling_p        Float64 DEFAULT 1 CODEC(ZSTD(1)),           -- probability in force
    th                LowCardinality(String),                     -- threshold, hex; '' when nothing was sampled
    th_in             LowCardinality(String),                     -- upstream's threshold
    rv                String CODEC(ZSTD(1)),                      -- randomness when it is not the trace id's
    sampling_rule     LowCardinality(String) DEFAULT 'default',
    sampling_reason   LowCardinality(String) DEFAULT 'kept',
    sampling_config   LowCardinality(String),
    r_source          LowCardinality(String) DEFAULT 'trace_id',
    upstream          LowCardinality(String) DEFAULT 'none', -- none | th | malformed | inconsistent | ..
    -- names of the consumer analytics guide, computed when read
    developer_id      String ALIAS user_id,
    organization_id   String ALIAS company_id,
    plan_id           String ALIAS plan,
    request_duration_ms Nullable(Float64) ALIAS duration_ms,
    upstream_ms       Nullable(Float64) ALIAS toFloat64OrNull(metadata.timings.upstream_ms::Nullable(String)),
    queue_ms          Nullable(Float64) ALIAS toFloat64OrNull(metadata.timings.queue_ms::Nullable(String)),
    cache_hit         Nullable(Bool) ALIAS metadata.result.cache.hit::Nullable(String) IN ('true', '1'),
    cache_status      Nullable(String) ALIAS metadata.result.cache.status::Nullable(String),
    quota_bucket      Nullable(String) ALIAS metadata.quota.bucket::Nullable(String),
    quota_consumed    Nullable(Float64) ALIAS toFloat64OrNull(metadata.quota.consumed::Nullable(String)),
    quota_limit       Nullable(Float64) ALIAS toFloat64OrNull(metadata.quota.limit::Nullable(String)),
    quota_remaining   Nullable(Float64) ALIAS toFloat64OrNull(metadata.quota.remaining::Nullable(String)),
    experiment        Nullable(String) ALIAS metadata.flags.experiment::Nullable(String),
    variant           Nullable(String) ALIAS metadata.flags.variant::Nullable(String),
    pop               Nullable(String) ALIAS metadata.network.pop::Nullable(String),
    asn               Nullable(String) ALIAS metadata.network.asn::Nullable(String),
    ip_family         LowCardinality(String) ALIAS multiIf(ip = '', '', position(ip, ':') > 0, 'ipv6', 'ipv4'),
