"""Cross-origin requests of browsers (Fetch standard): off until an origin is allowed."""

from __future__ import annotations

from collections.abc import Mapping

import re2  # type: ignore[import-untyped]

from receiver.settings import CorsSettings


class Cors:
    """Which origins may send, and the headers that say so to a browser."""

    def __init__(self, settings: CorsSettings) -> None:
        patterns = [".*".join(map(re2.escape, origin.lower().split("*"))) for origin in settings.allowed_origins]
        # RE2, since an origin may be whatever a stranger sends: with several `*` re would try them all.
        self._allowed = re2.compile("|".join(patterns)) if patterns else None
        headers = ("content-type", "content-encoding", *settings.allowed_headers)
        self._preflight = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": ", ".join(dict.fromkeys(name.lower() for name in headers)),
            "Access-Control-Max-Age": str(settings.max_age_s),
        }

    def response_headers(self, request_headers: Mapping[str, str]) -> dict[str, str]:
        """What to add to any answer to this request, errors included: nothing for an origin that is not allowed."""
        if self._allowed is None:
            return {}
        origin = request_headers.get("Origin", "")
        if not origin or not self._allowed.fullmatch(origin.lower()):
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def preflight_headers(self, method: str, request_headers: Mapping[str, str]) -> dict[str, str] | None:
        """The headers of a 204 when this is a preflight of an allowed origin, else None.

        A preflight carries no credentials, so it is answered before they are asked for.
        """
        if method != "OPTIONS" or "Access-Control-Request-Method" not in request_headers:
            return None
        headers = self.response_headers(request_headers)
        return {**headers, **self._preflight} if "Access-Control-Allow-Origin" in headers else None
