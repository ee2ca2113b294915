"""Frameworks' routes in one spelling (spec/mapping.md §3.3): `{name}` for every variable part, a slash in front.

Pure, in time proportional to the text, of which MAX_ROUTE_CHARS are looked at.
"""

from __future__ import annotations

import re
from functools import lru_cache

from mapping.rules.null_words import is_absent
from mapping.rules.verbs import VERBS

_QUERY = re.compile(
    r"[?#][\w.\-\[\]%]{1,200}(?:=|%3[Dd])"
).search  # `/a?b=c` and `/a#b=c`, but not `/users/:id?` and `(?:…)`

MAX_ROUTE_CHARS = 2048  # longer "routes" are no routes; bounds what one value can cost
_VERBS = "|".join(sorted((*VERBS, "_OTHER", "ANY", "ALL")))

# `GET /a`, `http get /a`, `GET|HEAD /a`, `UsersController.get /a`: what stands before the path.
_BEFORE_PATH = re.compile(r"[^/{}<>()*^$]{1,128}\s(?=/)").match
_METHOD_PREFIX = re.compile(rf"(?:http )?(?:{_VERBS})(?: +|:(?=/))|http +", re.IGNORECASE)
_STATUS_LINE = re.compile(r"/?[1-5][0-9]{2} [A-Za-z' -]{1,64}").fullmatch  # KrakenD, Gin: 404 Not Found
_HOST = re.compile(
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?::[0-9]{1,5})?(?=/)|[A-Za-z0-9-]{1,63}:[0-9]{2,5}(?=/)"
).match
_RULE = re.compile(r"\b[A-Z][A-Za-z]{1,32}\([`\"']").search  # Traefik: Host(`a.example`) && PathPrefix(`/b`)
_SLASH_OR_PLACEHOLDER = re.compile(r"[/{<\[^$]|^:").search
_NO_PATH = re.compile(r"#|::|->|@|\s").search  # UsersController#show, App\\Users@show
_JS_FLAGS = "dgimsuvy"
_ANGLE = re.compile(r"<([^<>]{1,256})>\??")
_CONVERTERS = frozenset(("int", "float", "path", "string", "str", "uuid", "any", "slug", "re", "regex", "default"))
_OPTIONAL_GROUP = re.compile(r"\{(/[^{}:*]*[:*][A-Za-z_][^{}]*)\}")  # Express 5: /users{/:id}
_HANDLEBARS = re.compile(r"\{\{ ?([A-Za-z_][\w.\-]{0,64}) ?\}\}")
_QUERY_TEMPLATE = re.compile(r"\{[?&][^{}]*\}|\{\$\}")  # RFC 6570: /books{?max}; Go: /{$}
_BRACE = re.compile(r"(/?)\{([*.#/;?&+! ]{0,2})([A-Za-z_][\w.\-]*+)(?:[^{}]++|\{[^{}]*+\})*+\}")
_NAMELESS = re.compile(r"\{[0-9]{0,3}\}")  # C#: /a/{0}
_CONSTRAINED = re.compile(
    r"(?:^|(?<=[/.\-])):([A-Za-z_]\w*)(?:<[^<>]*>|\{(?:[^{}]++|\{[^{}]*+\})*+\})[?*+]?|(?<=/)\$([A-Za-z_]\w*)<[^<>]*>"
)  # Fiber, Hono, Play
_DOLLAR = re.compile(r"(?<=/)\$((?:[A-Za-z_]\w*)?(?:[iI]d|slug|Slug|name|Name|key|Key))(?=/|$)")  # Remix, TanStack
_COLON = re.compile(r"(?:^|(?<=[/.\-(])):([A-Za-z_]\w*)(?:\((?:[^()\\]++|\\.|\([^()]*+\))*+\))?[?*+]?")
_SPLAT = re.compile(r"(?<=/)\*([A-Za-z_]\w*)")  # Express 5: /files/*rest
_FORMAT_MARK = re.compile(r"\(/?\.[^()]*\)|\.\?\{format\}|\[\.\{format\}\]")  # Rails, Grape: /users/:id(.:format)
_SINATRA = re.compile(r"\.\?:format\??")
_SELECTOR = re.compile(r"/?\([A-Za-z]{1,32}:[^()]*\)")  # /users/{id}/(method:GET)
_FOLDER = re.compile(r"/\([\w.\- ]{1,64}\)(?=/|$)")  # Next, SvelteKit: /(app)/users
_OPTIONAL = re.compile(r"\((/[^()]*)\)\??|\[(/[^\[\]]*)\]")  # Rails: (/:id), Slim: [/{year}]
_BRACKETS = re.compile(r"\[{1,2}(?:\.\.\.)?([A-Za-z_][\w\-]{0,64})(?:=[^\[\]]*)?\]{1,2}")  # Next, SvelteKit, Nuxt
_MATRIX = re.compile(r";[^/{}]*")
_UNNAMED = re.compile(r"/\((?:\[|\\[dDwWsS]|\.[*+])").search  # Tornado: /files/([^/]+)/(\d+)
_SPECIAL = re.compile(r"[^\w/.\-~]").search
_OPTIONAL_DEPTH = 4  # optional parts within optional parts
_REPEAT = re.compile(r"\{\d*+,?\d*+\}").match
_PARAMS = re.compile(r"(?:\{param\})++")
_MAX_GROUPS = 16  # one within the other, in a regular expression
_FORMAT = re.compile(r"%s(?![0-9A-Za-z])")  # Tornado: /files/%s/%s, the reverse of /files/([^/]+)/(\d+)
_PLACEHOLDER = re.compile(
    r"\{[^{}]*\}|<[^<>]+>|(?:^|(?<=[/.\-])):[A-Za-z_]|[\\^*]|\(\?|%s(?![0-9A-Za-z])|\[\[?(?:\.\.\.)?[A-Za-z_]|(?<=/)\$[A-Za-z_]"
).search


def without_query(raw: str) -> str:
    """A route without what is no part of one: a query that came with it, and the secrets in that."""
    if ("?" in raw or "#" in raw) and (found := _QUERY(raw)) is not None:
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


def from_span_name(name: str) -> str:
    """The route in a SERVER span's name as written, after the method if there is one; "" when it holds
    none.
    """
    if _STATUS_LINE(name) is not None:
        return ""
    rest = bare(name.strip())
    if rest[:1] in ("/", "^"):
        return rest
    # Without a slash in front only what is in one piece is a path: `UsersController.get {id}` is none.
    return rest if " " not in rest and re.search(r"\{[^{}]+\}|<[^<>]+>|\[[^\[\]]+\]", rest) else ""


@lru_cache(maxsize=4096)
def _normalise(raw: str) -> str:
    raw = raw.strip()[:MAX_ROUTE_CHARS]
    if is_absent(raw) or _STATUS_LINE(raw) is not None or ("(" in raw and _RULE(raw) is not None):
        return ""
    raw = bare(raw)
    if not raw or not (_SLASH_OR_PLACEHOLDER(raw) or _NO_PATH(raw) is None):
        return ""
    if "://" in raw and "(?" not in raw:
        raw = "/" + raw.partition("://")[2].partition("/")[2]
    body, slash, _ = raw.rstrip(_JS_FLAGS).rpartition("/")
    if slash and raw[:1] == "/" and (body[1:2] == "^" or "\\/" in body[1:]):
        raw = _from_regex(body[1:])
    elif raw[:1] == "^" or raw[-1:] == "$" or "(?" in raw or _UNNAMED(raw) is not None:
        raw = _from_regex(raw)
    raw = _named(raw)
    return raw if raw[:1] == "/" else "/" + raw


def bare(raw: str) -> str:
    """The route without method, class or host before it."""
    before = _BEFORE_PATH(raw)
    if before is not None:
        raw = raw[before.end() :]
    elif prefix := _METHOD_PREFIX.match(raw):
        raw = raw[prefix.end() :]
    host = _HOST(raw)
    return raw[host.end() :] if host is not None else raw


def _named(raw: str) -> str:
    """Every framework's placeholders as `{name}`; optional marks, formats, selectors and `;` parameters left out."""
    if not _SPECIAL(raw):
        return raw
    raw = _SINATRA.sub("", raw)
    raw = _CONSTRAINED.sub(lambda found: f"{{{found[1] or found[2]}}}", raw)
    raw = _ANGLE.sub(_of_angle, raw)
    raw = _HANDLEBARS.sub(r"{\1}", raw)
    raw = _OPTIONAL_GROUP.sub(r"\1", raw)
    raw = _QUERY_TEMPLATE.sub("", raw)
    raw = _BRACE.sub(_of_brace, raw)
    raw = _NAMELESS.sub("{param}", raw)
    raw = _COLON.sub(r"{\1}", raw)
    raw = _SPLAT.sub(r"{\1}", raw)
    raw = _DOLLAR.sub(r"{\1}", raw)
    raw = _FORMAT.sub("{param}", raw)
    raw = _FORMAT_MARK.sub("", raw)
    raw = _FOLDER.sub("", _SELECTOR.sub("", raw))
    for _ in range(_OPTIONAL_DEPTH):
        shorter = _OPTIONAL.sub(lambda found: found[1] or found[2], raw)
        if shorter == raw:
            break
        raw = shorter
    raw = _MATRIX.sub("", _BRACKETS.sub(r"{\1}", raw))
    return raw[:-1] if raw[-1:] == "?" else raw


def _of_angle(found: re.Match[str]) -> str:
    """`<int:id>` of Flask and Django, `<id:int>` of Bottle, `<path..>` of Rocket."""
    first, *more = found[1].strip().split(":")
    name = (
        first if more and more[0].strip() in _CONVERTERS and first.strip() not in _CONVERTERS else (more or [first])[-1]
    )
    return f"{{{name.strip().rstrip('.') or 'param'}}}"


def _of_brace(found: re.Match[str]) -> str:
    slash = found[1] or ("/" if "/" in found[2] else "")
    return f"{slash}{{{found[3].rstrip('.')}}}"


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
