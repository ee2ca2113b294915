"""A small real shop: two services that call each other, customers with plans, and the errors that shops have.

Everything here is a client of the bridge like any other: spans and logs are made by the OpenTelemetry SDK and
sent by its OTLP/HTTP exporters. People, companies, keys and cards are sample data.
"""
