"""Routes of low cardinality (spec/mapping.md §3.3): frameworks' routes in one spelling, and templates of raw
paths.

`normalise` and `template_path` are pure. A RouteBook adds the cap on path-derived templates, which is its
only state.

By hand: frameworks' routers match paths with routes that they know; here routes are only told, or guessed from paths.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from mapping.rules.route_spelling import (
    MAX_ROUTE_CHARS,
    bare,
    from_span_name,
    has_placeholder,
    normalise,
    without_query,
)

OTHER = "/{other}"  # stands for every path-derived template beyond the cap
ADMITTED: Final = 3  # calls after which a template beyond the cap may take the place of a rarer one
_LOOKS: Final = 4  # shown templates that a call of one beyond the cap looks at, so its cost is fixed

_PATH_MATRIX = re.compile(r";[^/]*")  # ;jsessionid=..., ;color=red
# A path without any of these has no segment that stands for a value: most static paths stop here.
_SUSPICIOUS = re.compile(r"[0-9@%;(]|[A-Fa-f]{8}").search
_VERSION: Final = 5  # `v1`, which stands in every path of an API, is shorter
_HEX_LETTERS: Final = 8  # so many letters and more may be one
_VALUE = re.compile(
    r"[+-]?[0-9]+"
    r"|[0-9]+(?:,[0-9]+)+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
    r"|\{[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}"
    r"|(?=[^0-9]*[0-9])[0-9a-fA-F]{8,}|0[xX][0-9a-fA-F]{8,}"
    r"|urn:uuid:[0-9a-fA-F\-]{32,36}|eyJ[\w\-]{8,}\.[\w\-]{4,}\.[\w\-]*"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
    r"|[0-9]{4}-(?:[0-9]{2}|[wW][0-9]{2})"
    r"|[0-9]{1,2}-[0-9]{1,2}-[0-9]{4}"
    r"|(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
    r"|[^@]*@.*"
    r"|[0-9A-Za-z][0-9A-Za-z_]*_(?=[A-Za-z]*[0-9])[0-9A-Za-z]{8,}"
    r"|[A-Z]{2,10}(?:-[0-9]+)+"  # tickets and invoices: ABC-1234, INV-2026-001
    r"|[A-Za-z]{1,16}:[0-9]+|[a-z]{1,16}-[0-9]{6,}"
    r"|[0-9]{4,}-[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*",  # 12345-a-title
    re.DOTALL,
).fullmatch
_SLUG = re.compile(r"[a-z]++(?:-[a-z0-9]++)*+").fullmatch  # a-title-of-words-12345
_SLUG_NUMBER = 5  # digits at its end that are an id; years and ports have four
_ODATA = re.compile(r"([A-Za-z_]\w{0,64})\([^()]{1,256}\)").fullmatch  # Orders(17), Orders('a')
_EXTENSION = re.compile(r"(.{1,256})\.([A-Za-z]{2,5})", re.DOTALL).fullmatch
_MIXED = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])[0-9A-Za-z_\-]{10,}").fullmatch
_TWO_NUMBERS = re.compile(r"[0-9][^0-9]+[0-9]").search
_LONG_TOKEN = re.compile(r"[0-9A-Za-z_\-]{16,}").fullmatch
_LETTER = re.compile(r"[A-Za-z]").search
_THREE_DIGITS = re.compile(r"[0-9][^0-9]*[0-9][^0-9]*[0-9]").search


def template_path(path: str) -> str:
    """The path with `{id}` for every segment that looks like a value: numbers, UUIDs, dates, keys, addresses.

    Percent-encoding is undone, because some instrumentations report decoded paths: both spellings get one template.
    """
    if path[:1] != "/":
        path = "/" + path
    if _SUSPICIOUS(path) is None:
        return path
    if ";" in path:
        path = _PATH_MATRIX.sub("", path)
    parts = path.split("/")
    if "%" in path:
        parts = [_decoded(part) if "%" in part else part for part in parts]
    # Words and numbers, which most are, need no expression.
    return "/".join(
        [
            part
            if part.isalpha() and len(part) < _HEX_LETTERS
            else "{id}"
            if part.isdigit() and part.isascii()
            else _templated(part)
            if part
            else part
            for part in parts
        ]
    )


class Known(NamedTuple):
    """A framework's route in one spelling, and how to tell that a path is not of it."""

    text: str  # "" for what is no route
    head: str  # paths that begin so, and end with `tail`, are of it; _NONE: that has to be looked at
    parts: tuple[str, ...] | None  # segments without placeholders, each after a slash; None: cannot be told
    alone: bool  # a word without slashes and placeholders: a route only of the path that is this word
    tail: str  # its last segment after a slash, where paths of it end so: "" for a placeholder or a subtree (`/files/`)

    def fits(self, path: str) -> bool:
        """False for a path (encoded) that cannot be of this route: a gateway's route id, a rule of something else, the
        prefix under which routes are mounted.
        """
        if self.tail and not path.endswith(self.tail) and not _ends_with(path, self.tail):
            return False
        if path.startswith(self.head):
            return True
        if self.alone:
            return path.rstrip("/") == self.text.rstrip("/")
        if self.parts is None:
            return True
        if _in_order(self.parts, path):
            return True
        return _in_order(tuple(map(str.casefold, self.parts)), unquote(path).casefold())


def known(raw: str) -> Known:
    """What is known of a route as its framework writes it."""
    text = normalise(raw)
    if not text or _EVERYTHING(raw):
        return Known("", "", None, False, "")
    head = text.partition("{")[0].partition("*")[0]
    if _UNSURE(raw) is not None or len(text) > MAX_ROUTE_CHARS:
        return Known(text, head, None, False, "")
    parts = tuple(f"/{part}" for part in text.split("/") if part and _STATIC(part) is not None)
    placeholders = has_placeholder(raw)
    last = text.rpartition("/")[2]
    tail = f"/{last}" if last and parts and parts[-1] == f"/{last}" else ""
    if last and not placeholders:  # a path, and only what is below a subtree begins so
        head = _NONE
    return Known(text, head, parts, not placeholders and "/" not in bare(raw.strip()), tail)


_known = lru_cache(maxsize=4096)(known)
_NONE = "\0"  # no path begins so


@lru_cache(maxsize=4096)
def _in_name(span_name: str) -> tuple[str, Known, bool]:
    """(the route in a SERVER span's name as written, what is known of it, whether it has placeholders)."""
    named = without_query(from_span_name(span_name))
    return named, known(named), has_placeholder(named)


_FILES = ("/route", "/page")  # Next.js names the file behind a path: /orders/[id]/route
_NEXT_SLOT = re.compile(r"/@[A-Za-z_][\w\-]*+")  # and what is shown beside each other: /shop/@basket/page
_EVERYTHING = re.compile(r"\s*/?\*{1,2}\s*").fullmatch  # Spring's `/**`: no route of its own matched
_UNSURE = re.compile(r"\(\?|\^|\[/|\(/|\?|\||\{/").search  # regular expressions and optional parts
_STATIC = re.compile(r"[\w.\-~]+").fullmatch


def _ends_with(path: str, tail: str) -> bool:
    """Whether the path's last segment is that of a route but for its case, its encoding or its file ending."""
    last = path.rstrip("/").rpartition("/")[2].partition(";")[0]
    last = unquote(last).casefold()
    wanted = tail[1:].casefold()
    return last == wanted or last.startswith(f"{wanted}.")


def _in_order(parts: tuple[str, ...], path: str) -> bool:
    at = 0
    for part in parts:
        while True:
            at = path.find(part, at)
            if at < 0:
                return False
            at += len(part)
            if path[at : at + 1] in ("", "/", ";", "?"):
                break
    return True


class RouteBook:
    """Chooses a record's route and holds path-derived templates to a number per service.

    Templates are remembered as hashes with a count: what a hostile sender can make us keep is bounded by twice
    `max_total` integers. The service that was silent longest is forgotten first. Beyond the cap a template is OTHER
    until its ADMITTED-th call; from then on it takes the place of one that is called less often: what is rare is
    dropped, and a flood of paths that are called once leaves room for every new route.
    """

    def __init__(self, max_templates: int = 1000, max_services: int = 1000, max_total: int = 100_000) -> None:
        self.max_templates = max_templates
        self.max_services = max_services
        self.max_total = max_total
        self._seen: dict[str, _Templates] = {}
        self._total = 0
        self._latest = ""

    def route(
        self, service: str, *, http_route: str = "", url_template: str = "", span_name: str = "", path: str = ""
    ) -> str:
        """The route (spec/mapping.md §3.3), "" for none. span_name: only of SERVER spans. path: of the URI, "" when
        none was sent.
        """
        if "?" in path:
            path = without_query(path)
        for raw in (http_route, url_template):
            if not raw:
                continue
            raw = without_query(raw)
            # Express 4 reports "/" for paths that no route matched.
            if raw and not (raw == "/" and len(path) > 1):
                if _is_path(raw, path):
                    return self.template(service, path)
                found = _known(raw) if len(raw) <= 256 else known(raw)
                if found.text and found.text == path:  # with its verb in front (Litestar)
                    return self.template(service, path)
                if found.text and (not path or found.fits(path)):
                    return found.text
                if (
                    found.tail in _FILES
                    and path
                    and (above := _known(_NEXT_SLOT.sub("", raw[: raw.rindex("/")]) or "/")).fits(path)
                ):
                    return above.text
        if not span_name:
            return self.template(service, path) if path else ""
        named, found, placeholders = (_in_name if len(span_name) <= 256 else _in_name.__wrapped__)(span_name)
        # A span's name of `/` is what some give to calls without a route; of the root there is a route or a path.
        if named and not (named == "/" and path != "/"):
            if named == path:
                return self.template(service, path)
            if found.text and (not path or found.fits(path)):
                return found.text if placeholders else self.template(service, named)
        return self.template(service, path) if path else ""

    def template(self, service: str, path: str) -> str:
        """template_path(path), or OTHER once the service has used up its templates."""
        template = template_path(path)
        seen = self._seen.get(service)
        if seen is None or service != self._latest:
            seen = self._touch(service)
        key = hash(template)
        calls = seen.calls
        if key in calls:
            calls[key] += 1
            return template
        if len(calls) < self.max_templates:
            calls[key] = 1
            self._total += 1
            while self._total > self.max_total and len(self._seen) > 1:
                self._forget()
            return template
        return template if seen.admits(key, self.max_templates) else OTHER

    def _touch(self, service: str) -> _Templates:
        """The service's templates, now the most recent of all services."""
        seen = self._seen.pop(service, None)
        if seen is None:
            seen = _Templates()
            if len(self._seen) >= self.max_services:
                self._forget()
        self._seen[service] = seen
        self._latest = service
        return seen

    def _forget(self) -> None:
        oldest = next(iter(self._seen))
        self._total -= len(self._seen.pop(oldest).calls)


class _Templates:
    """The templates of one service, as hashes: those that are shown, and those that wait."""

    __slots__ = ("calls", "waiting")

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}  # shown -> calls, halved whenever another looks for a place
        self.waiting: dict[int, int] = {}  # not shown -> calls, the longest silent first

    def admits(self, key: int, most: int) -> bool:
        """Counts a call of a template that is not shown; True when it is shown from now on."""
        count = self.waiting.pop(key, 0) + 1
        if count >= ADMITTED:
            for _ in range(_LOOKS):
                rare = next(iter(self.calls))
                calls = self.calls.pop(rare)
                if calls < count:
                    self.calls[key] = count
                    return True
                self.calls[rare] = calls // 2
        if len(self.waiting) >= most:
            del self.waiting[next(iter(self.waiting))]
        self.waiting[key] = count
        return False


def _is_path(raw: str, path: str) -> bool:
    """True when the sender put the path itself where a route belongs (Lambda HTTP API)."""
    return (raw == path or ("%" in path and raw == unquote(path))) and not has_placeholder(raw)


def _decoded(part: str) -> str:
    """The segment without percent-encoding, unless that would change its shape or is not text."""
    plain = unquote(part)
    return plain if plain.isprintable() and "/" not in plain and "\ufffd" not in plain else part


def _templated(part: str) -> str:
    """The segment, or what stands for it when it is a value."""
    if _SUSPICIOUS(part) is None or (part[0] == "v" and len(part) < _VERSION and part[1:].isdecimal()):
        return part
    if _is_value(part):
        return "{id}"
    if "(" in part and (keyed := _ODATA(part)) is not None and part[-1] == ")":
        return f"{keyed[1]}({{id}})"
    if "." in part and (named := _EXTENSION(part)) is not None and _is_value(named[1]):
        return f"{{id}}.{named[2]}"
    return part


def _is_value(part: str) -> bool:
    if (part.isascii() and part.isdigit()) or _VALUE(part):
        return True
    if _LONG_TOKEN(part) and _THREE_DIGITS(part) and _LETTER(part):
        return True
    if part[-_SLUG_NUMBER:].isdecimal() and part.count("-") > 1 and _SLUG(part):
        return True
    return bool(_MIXED(part) and _TWO_NUMBERS(part))
