"""The admin port: health, readiness, metrics, the ledger, and what the command line asks."""

# What changes something on the admin port carries this header, with any value: a browser never sends it to another
# origin by itself (weighbridge/admin/door.py).
CLIENT_HEADER = "X-Weighbridge-Client"
