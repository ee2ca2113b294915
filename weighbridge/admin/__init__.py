"""The admin port: health, readiness, metrics, the ledger, and what the command line asks."""
