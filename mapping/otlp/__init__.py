"""Bytes of OTLP to records."""
