"""Spans to API calls and actions: sorted, planned once per shape, and built."""
