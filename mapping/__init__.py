"""OTLP records in, API events out: pure functions of the request, no I/O.

Imports nothing else of the project; `receiver`, `exporter` and `weighbridge` import from here.
"""
