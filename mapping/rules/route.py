"""Routes of low cardinality (mapping.md §3.3): frameworks' routes in one spelling, and templates of raw
paths.

`normalise` and `template_path` are pure. A RouteBook adds the cap on path-derived templates, which is its
only state.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

from mapping.rules.null_words import is_absent

OTHER = "/{other}"  # stands for every path-derived template beyond the cap

_QUERY = re.compile(r"\?[\w.\-\[\]%]{1,200}=").search  # `/a?b=c`, but not `/users/:id?` and `(?:…)`

_MAX_ROUTE_CHARS = 2048  # longer "routes" are no routes; bounds what one value can cost
_VERBS = "CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE|QUERY"

_METHOD_PREFIX = re.compile(rf"(?:(?:HTTP )?(?:{_VERBS}|_OTHER)|HTTP) +")
_JS_FLAGS = "dgimsuvy"
_ANGLE = re.compile(r"<(?:[^<>]*:)?\s*+([^<>:\s]++)\s*+>")
_OPTIONAL_GROUP = re.compile(r"\{(/[^{}:*]*[:*][^{}]*)\}")  # Express 5: /users{/:id}
_BRACE = re.compile(r"\{[*.#/;?&+]{0,2}([A-Za-z_][\w.\-]*+)(?:[^{}]++|\{[^{}]*+\})*+\}")
_COLON = re.compile(r"(?:^|(?<=[/.\-])):([A-Za-z_]\w*)(?:\((?:[^()\\]++|\\.|\([^()]*+\))*+\))?[?*+]?")
_SPLAT = re.compile(r"(?<=/)\*([A-Za-z_]\w*)")  # Express 5: /files/*rest
_REPEAT = re.compile(r"\{\d*+,?\d*+\}").match
_PARAMS = re.compile(r"(?:\{param\})++")
_MAX_GROUPS = 16  # one within the other, in a regular expression
_FORMAT = re.compile(r"%s(?![0-9A-Za-z])")  # Tornado: /files/%s/%s, the reverse of /files/([^/]+)/(\d+)
_PLACEHOLDER = re.compile(r"\{[^{}]*\}|<[^<>]+>|(?:^|(?<=[/.\-])):[A-Za-z_]|[\\^*]|\(\?|%s(?![0-9A-Za-z])").search

# A path without any of these has no segment that stands for a value: most static paths stop here.
_SUSPICIOUS = re.compile(r"[0-9@%]|[A-Fa-f]{8}").search
_VALUE = re.compile(
    r"[0-9]+"
    r"|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}"
    r"|(?=.*[0-9])[0-9a-fA-F]{8,}"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
    r"|.*@.*"
    r"|[0-9A-Za-z][0-9A-Za-z_]*_(?=[A-Za-z]*[0-9])[0-9A-Za-z]{8,}",
    re.DOTALL,
).fullmatch
_LONG_TOKEN = re.compile(r"[0-9A-Za-z_\-]{16,}").fullmatch
_LETTER = re.compile(r"[A-Za-z]").search
_THREE_DIGITS = re.compile(r"[0-9][^0-9]*[0-9][^0-9]*[0-9]").search


def without_query(raw: str) -> str:
    """A route without what is no part of one: a query that came with it, and the secrets in that."""
    if "?" in raw and (found := _QUERY(raw)) is not None:
        return raw[: found.start()]
    return raw


def normalise(raw: str) -> str:
    """A framework's route with `{name}` placeholders and a leading slash; "" for null words.

    Understands <int:id>, :id, {id:int} and their relatives, Django's regular expressions and JavaScript's
    literals.
    """
    raw = without_query(raw)
    return _normalise(raw) if len(raw) <= 256 else _normalise.__wrapped__(raw)


def has_placeholder(raw: str) -> bool:
    """True when a route names at least one variable part, in any framework's spelling."""
    return _PLACEHOLDER(raw) is not None


def template_path(path: str) -> str:
    """The path with `{id}` for every segment that looks like a value: numbers, UUIDs, dates, keys, addresses.

    Percent-encoding is undone, because some instrumentations report decoded paths: both spellings get one template.
    """
    if path[:1] != "/":
        path = "/" + path
    if _SUSPICIOUS(path) is None:
        return path
    parts = path.split("/")
    if "%" in path:
        parts = [_decoded(part) if "%" in part else part for part in parts]
    return "/".join([part if not part or not _is_value(part) else "{id}" for part in parts])


def from_span_name(name: str) -> str:
    """The route in a SERVER span's name as written, after the method if there is one; "" when it holds
    none.
    """
    prefix = _METHOD_PREFIX.match(name)
    rest = name[prefix.end() :].strip() if prefix is not None else name.strip()
    if rest[:1] in ("/", "^"):
        return rest
    return rest if re.search(r"\{[^{}]+\}|<[^<>]+>", rest) else ""


class RouteBook:
    """Chooses a record's route and holds path-derived templates to a number per service.

    Templates are remembered as hashes: what a hostile sender can make us keep is bounded by `max_total`
    integers. The service that was silent longest is forgotten first.
    """

    def __init__(self, max_templates: int = 1000, max_services: int = 1000, max_total: int = 100_000) -> None:
        self.max_templates = max_templates
        self.max_services = max_services
        self.max_total = max_total
        self._seen: dict[str, set[int]] = {}
        self._total = 0
        self._latest = ""

    def route(
        self, service: str, *, http_route: str = "", url_template: str = "", span_name: str = "", path: str = ""
    ) -> str:
        """The route by §3.3, "" for none. span_name: only of SERVER spans. path: of the URI, "" when none
        was sent.
        """
        for raw in map(without_query, (http_route, url_template)):
            # Express 4 reports "/" for paths that no route matched.
            if raw and not (raw == "/" and len(path) > 1):
                if _is_path(raw, path):
                    return self.template(service, path)
                if normal := normalise(raw):
                    return normal
        named = without_query(from_span_name(span_name)) if span_name else ""
        if named and not (named == "/" and len(path) > 1):
            return normalise(named) if has_placeholder(named) else self.template(service, named)
        return self.template(service, path) if path else ""

    def template(self, service: str, path: str) -> str:
        """template_path(path), or OTHER once the service has used up its templates."""
        template = template_path(path)
        seen = self._seen.get(service)
        if seen is None or service != self._latest:
            seen = self._touch(service)
        key = hash(template)
        if key in seen:
            return template
        if len(seen) >= self.max_templates:
            return OTHER
        seen.add(key)
        self._total += 1
        while self._total > self.max_total and len(self._seen) > 1:
            self._forget()
        return template

    def _touch(self, service: str) -> set[int]:
        """The service's templates, now the most recent of all services."""
        seen = self._seen.pop(service, None)
        if seen is None:
            seen = set()
            if len(self._seen) >= self.max_services:
                self._forget()
        self._seen[service] = seen
        self._latest = service
        return seen

    def _forget(self) -> None:
        oldest = next(iter(self._seen))
        self._total -= len(self._seen.pop(oldest))


def _is_path(raw: str, path: str) -> bool:
    """True when the sender put the path itself where a route belongs (Lambda HTTP API)."""
    return (raw == path or ("%" in path and raw == unquote(path))) and not has_placeholder(raw)


def _decoded(part: str) -> str:
    """The segment without percent-encoding, unless that would change its shape or is not text."""
    plain = unquote(part)
    return plain if plain.isprintable() and "/" not in plain and "\ufffd" not in plain else part


def _is_value(part: str) -> bool:
    if _VALUE(part):
        return True
    return bool(_LONG_TOKEN(part) and _THREE_DIGITS(part) and _LETTER(part))


@lru_cache(maxsize=4096)
def _normalise(raw: str) -> str:
    raw = raw.strip()[:_MAX_ROUTE_CHARS]
    if is_absent(raw):
        return ""
    prefix = _METHOD_PREFIX.match(raw)  # Go's mux patterns: "GET /users/{id}"
    if prefix is not None:
        raw = raw[prefix.end() :]
    if "://" in raw and "(?" not in raw:
        raw = "/" + raw.partition("://")[2].partition("/")[2]
    body, slash, _ = raw.rstrip(_JS_FLAGS).rpartition("/")
    if slash and raw[:1] == "/" and (body[1:2] == "^" or "\\/" in body[1:]):
        raw = _from_regex(body[1:])
    elif raw[:1] == "^" or raw[-1:] == "$" or "(?" in raw:
        raw = _from_regex(raw)
    raw = _ANGLE.sub(r"{\1}", raw)
    raw = _OPTIONAL_GROUP.sub(r"\1", raw)
    raw = _BRACE.sub(r"{\1}", raw)
    raw = _COLON.sub(r"{\1}", raw)
    raw = _SPLAT.sub(r"{\1}", raw)
    raw = _FORMAT.sub("{param}", raw)
    return raw if raw[:1] == "/" else "/" + raw


def _from_regex(pattern: str, depth: int = 0) -> str:
    """A path template for a regular expression of Django or JavaScript; unnamed variable parts become
    {param}.
    """
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            escaped = pattern[at + 1 : at + 2]
            if escaped and escaped in "dDwWsS":
                out.append("{param}")
            elif escaped not in "AZzbB":
                out.append(escaped)
            at += 2
        elif char == "(":
            end = _closing(pattern, at)
            out.append(_from_group(pattern[at + 1 : end], depth + 1))
            at = end + 1
        elif char == "[":
            end = _class_end(pattern, at)
            content = pattern[at + 1 : end]
            out.append(content if len(content) == 1 else "{param}")
            at = end + 1
        elif char == "." and pattern[at + 1 : at + 2] in ("*", "+"):
            out.append("{param}")
            at += 1
        elif char in "^$*+?":
            at += 1
        elif char == "{" and (repeat := _REPEAT(pattern, at)):
            at = repeat.end()
        else:
            out.append(char)
            at += 1
    return _PARAMS.sub("{param}", "".join(out))


def _from_group(content: str, depth: int) -> str:
    named = re.match(r"\?P?<([A-Za-z_]\w*)>", content)
    if named is not None:
        return f"{{{named[1]}}}"
    if content.startswith("?:"):
        return _from_regex(content[2:], depth) if depth <= _MAX_GROUPS else "{param}"
    return "" if content.startswith("?") else "{param}"


def _closing(pattern: str, at: int) -> int:
    """Index of the parenthesis that closes the one at `at`, the last index when none does."""
    depth = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at = _class_end(pattern, at)
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return len(pattern)


def _class_end(pattern: str, at: int) -> int:
    """Index of the bracket that closes the character class at `at`."""
    at += 1
    if pattern[at : at + 1] == "^":
        at += 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return min(at, len(pattern))
