"""All that knows ClickHouse: the sink and what it stores, the questions, and the embedded engine."""
