"""The URI of an exchange that a log describes: a short way for the usual forms, as spans have one in `uri_plan`."""

from __future__ import annotations

from mapping.context import Context
from mapping.logs.http import HttpExchange
from mapping.rules import uri
from mapping.rules.uri import SHORT_QUERY, is_clean_path


def of_exchange(context: Context, http: HttpExchange, service: str) -> uri.Uri | None:
    """What `HttpExchange.uri` says of a plain path or request target, from memory; None where it needs a look."""
    path, query = http.path, http.query
    if http.url:
        if path or query:
            return None
        path, _, query = http.url.partition("?")
    if path[1:2] == "/" or is_clean_path(path) is None or len(query) >= SHORT_QUERY:
        return None
    host = http.host or context.stand_ins[service]
    text = context.origins[http.scheme, host, http.port, http.host_is_header, http.origin] + path
    guessed = not (http.host or http.origin.authority)
    return uri.Uri(text + context.queries[query] if query else text, path, query, guessed, False)
