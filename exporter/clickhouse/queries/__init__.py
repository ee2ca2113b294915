"""The store's questions by name: functions that give a Statement, SQL with typed parameters, for StoreReader.run.

`names()` lists them; a name's function is the attribute of this package that is called so. They know no command line.
"""

from exporter.clickhouse.queries.estimates import GROUPS, cluster_of, percentile, totals
from exporter.clickhouse.queries.milestones import (
    adoption,
    first_calls,
    health,
    milestones,
    monthly,
    retry_storms,
    returning,
    tokens,
)
from exporter.clickhouse.queries.named import (
    endpoint_coverage,
    endpoint_percentiles,
    failing_customers,
    latest,
    logs_of_failing_calls,
    onboarding_funnel,
    retention_cohorts,
    tail,
    top_erroring_customers,
    trace,
    traffic_by_plan,
    usage,
    user_calls,
)
from exporter.clickhouse.queries.statement import (
    ALWAYS,
    EVENT_COLUMNS,
    Condition,
    Statement,
    names,
    parse_condition,
    terms_of,
)

__all__ = [
    "ALWAYS",
    "EVENT_COLUMNS",
    "GROUPS",
    "Condition",
    "Statement",
    "adoption",
    "cluster_of",
    "endpoint_coverage",
    "endpoint_percentiles",
    "failing_customers",
    "first_calls",
    "health",
    "latest",
    "logs_of_failing_calls",
    "milestones",
    "monthly",
    "names",
    "onboarding_funnel",
    "parse_condition",
    "percentile",
    "retention_cohorts",
    "retry_storms",
    "returning",
    "tail",
    "terms_of",
    "tokens",
    "top_erroring_customers",
    "totals",
    "trace",
    "traffic_by_plan",
    "usage",
    "user_calls",
]  # fmt: skip
