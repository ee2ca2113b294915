"""The console: pages on the admin port that show what the store and the bridge know, and the same as JSON.

a request -> entrance (who asks) -> pages, api, live -> reading (what is asked) -> store, ledger
"""
