"""Log records to API calls and log events."""
