"""What spans and logs read of a call in the same way: verb, version of the API, id of the request."""

from __future__ import annotations

import re
from typing import Any, Final

from mapping.rules import uri
from mapping.rules.null_words import is_absent
from mapping.rules.verbs import STANDARD_VERBS

ACTION_NAMES: Final = ("moesif.action_name", "action_name", "action.name")
DIRECTIONS: Final = {"incoming": "Incoming", "outgoing": "Outgoing", "internal": "Internal"}
# The version of the API that was called (spec/mapping.md §3.8): headers of the request, attributes, headers of the
# answer, the path. Names in lower case, first one first.
VERSION_HEADERS: Final = ("api-version", "x-api-version", "accept-version")
VERSION_ATTRIBUTES: Final = ("api.version", "api_version")
ANSWERED_VERSION_HEADERS: Final = VERSION_HEADERS[:2]
REQUEST_ID_HEADERS: Final = ("x-request-id", "x-correlation-id", "request-id")  # spec/mapping.md §8

_PATH_VERSION: Final = re.compile(r"/(v\d+(?:\.\d+)*)(?=/|$)").search


def verb_of(method: str, original: str, name: str) -> str:
    """The verb of a call (spec/mapping.md §3.1). method: as sent, "" for none; name: the span's."""
    if not method or is_absent(method):  # Micrometer's UNKNOWN and none
        first = name.partition(" ")[0]
        return first if first in STANDARD_VERBS else "_OTHER"
    if method == "_OTHER" and original:
        method = original
    upper = method.upper()
    return upper if upper in STANDARD_VERBS else method


def path_version(path: str) -> str:
    """The first path segment that looks like an API version, "" without one."""
    found = _PATH_VERSION(path)
    return found[1] if found is not None else ""


_FLAGS: Final = ("uri_host_guessed", "uri_from_route", "body_truncated", "body_unreadable")
_ALL_FLAGS: Final = frozenset(_FLAGS)


def flags_in(extra: dict[str, Any]) -> tuple[str, ...]:
    """What metadata says about how an event was made, as Event.flags."""
    if _ALL_FLAGS.isdisjoint(extra):
        return ()
    return tuple([name for name in _FLAGS if name in extra])


def note_uri(found: uri.Uri, extra: dict[str, Any]) -> None:
    """Adds to metadata what had to be guessed or left out of a URI."""
    if found.host_guessed:
        extra["uri_host_guessed"] = True
    if found.from_route:
        extra["uri_from_route"] = True
    if found.query_params_dropped:
        extra["query_params_dropped"] = found.query_params_dropped
