"""The methods of HTTP."""

from __future__ import annotations

from typing import Final

# Those of semantic conventions; others are `_OTHER` there, and in ids of events.
STANDARD_VERBS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "QUERY")
)
# The registry of HTTP methods (IANA) and PURGE, which caches use.
VERBS: Final = frozenset(
    """
    ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY
    MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT
    QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL
    """.split()  # noqa: SIM905 - a list literal of 39 words takes 39 lines
)
