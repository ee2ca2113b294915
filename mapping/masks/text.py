"""Masks for text that is almost structure: cut-off JSON, Python reprs, key=value lines, header dumps, URLs.

Every function takes `secret`, which tells whether a key is masked, and gives back the same text when nothing was. Where
the end of a value cannot be known, everything from there on is hidden. All patterns take time linear in the text.

By hand: parsers give up at the first odd character, and the secret would still stand behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from mapping.masks.mask import MASK, QUERY_MASK
from mapping.rules.codings import garbled
from mapping.rules.tokens import is_key

# A text that masks look through is cut here: what stands behind was not looked at and does not leave. Header blocks,
# stack traces and log lines are shorter; 64 Ki characters take some ten milliseconds at worst.
MAX_TEXT_CHARS = 64 * 1024
_MAX_LAST_WORD_CHARS = 1024  # of a word that the cut would leave half: half a secret has no end to be known by

Secret = Callable[[str], bool]

# A value in brackets, as languages print lists and wrappers: `[Bearer x]`, `List(Bearer x)`, `Optional[x]`, `{a=b; c}`.
_WRAPPED = r"[A-Za-z]{0,20}+(?:\[[^\]\r\n]*+\]?|\([^)\r\n]*+\)?|\{[^}\r\n]*+\}?)[^\s,;&\"'<>]*+"
# `"password": "x"`, Ruby's `"password" => "x"`, and Python's `b'password': b'x'`.
_QUOTED_KEY = re.compile(r"(\\{0,8}[\"'])([^\"'\\]{1,200})\1\s*(?:=>|[:=])\s*(?:[bu](?=[\"']))?")
# `('password', 'x')` and `[b'password', b'x']`: pairs as Python and Node print them. Nothing may follow the value.
_PAIR_KEY = re.compile(r"([(\[])\s*[bu]?(\\{0,8}[\"'])([^\"'\\]{1,200})\2\s*,\s*[bu]?(?=\\{0,8}[\"'])")
_PAIR_END = re.compile(r"\s*+,?\s*+[)\]]|\Z").match
_VALUE = re.compile(
    r"(\\{0,8}[\"'])(?:(?!\1)(?:\\.|[^\\]))*\1"  # a whole quoted text
    r"|[\"'\\\[{].*"  # an open quote or a structure: nobody knows where it ends
    r"|[^\s,}\])]+",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"(?<![\w.\-])([\w.\-]{2,100})\]?[ \t]{0,4}(?::=|=>|->|\u2192|=(?!=))[ \t]{0,4}")
# The secret of `Authorization=Bearer x` is the word after the scheme.
_BARE_VALUE = re.compile(
    r"\"\"\"[^\"]*\"{0,3}|\"(?:\\.|[^\"\\])*+\"?|'(?:\\.|[^'\\])*+'?|\\{1,8}[\"'][^\"']*|"
    rf"{_WRAPPED}|(?:(?i:bearer|basic|digest|token)[ \t]+)?[^\s,;&\"']+",
    re.DOTALL,
)
# Of cookies: `a=b; sid=x`.
_MORE_COOKIES = re.compile(r"(?:;[ \t]?[^\s,;=&\"']{1,200}+=[^\s,;&\"']*+)*+")
# Names of headers, not plain words: "Unexpected token: }" says nothing secret.
_HEADER_LINE = re.compile(
    r"(?:(?<![\w\-])|(?<=\\[nrt]))([a-z]{1,40}(?:-[a-z0-9]{1,40}){1,8}|authorization|cookie|apikey)"
    rf"[ \t]?:(?:[ \t]|\\{{1,8}}t)*({_WRAPPED}|"
    r"(?:[a-z][a-z0-9\-]*[ \t]+)?[^\s,;\"']+"
    r"(?:(?<==)\"[^\"]*\")?(?:,[ \t]*[\w\-]+=[^\s,;\"']*(?:(?<==)\"[^\"]*\")?)*(?:;[^\r\n\"']*)?)",  # Digest, AWS4
    re.IGNORECASE,
)
# GraphQL arguments, loose JSON and what Go prints: `password: "x"`, `map[password:x]`, but not `http://token:80`.
_COLON_KEY = re.compile(
    r"(?:(?<![\w.\-:/@\"'])|(?<=\s/)|(?<=^/))([A-Za-z][\w\-]{1,99}):(?=\s{0,8}\\{0,8}[\"']|[^\s:=/\\])"
)
_COLON_VALUE = re.compile(
    re.escape(MASK) + rf"|{_WRAPPED}" + r"|(?:(?:bearer|basic|digest|token)[ \t]+)?[^\s,;&)}\]\"']+", re.IGNORECASE
)
# A line of YAML or of a header dump.
_LINE = re.compile(r"^([ \t]*(?:-[ \t]+)?)([A-Za-z][\w.\-]{1,99}):[ \t]+(\S[^\r\n]*)", re.MULTILINE)
# In the middle of a sentence: `wrong password: x1`, `the password is: x1`. What follows may be one more word of it.
_VERBS = "is|was|provided|given|supplied|used|sent|received"
_SENTENCE = re.compile(rf"(?<![\w.\-/])([A-Za-z][\w.\-]{{1,99}})(?:[ \t](?:{_VERBS}))?[ \t]?:[ \t]+")
# `Incorrect API key provided: x1`, `private key = x1`: a name of two words.
_TWO_WORDS = re.compile(
    rf"(?<![\w.\-/])([A-Za-z]{{2,30}} [A-Za-z]{{2,30}})(?:[ \t](?:{_VERBS}))?[ \t]?[:=][ \t]*+(?=[^\s=])"
)
_SENTENCE_VALUE = re.compile(r"(?:(?:bearer|basic|digest|token)[ \t]+)?[^\s,;\"']+", re.IGNORECASE)
PLAIN_WORD = re.compile(r"[^A-Za-z0-9]*|[(\[<]?(?:[A-Z]?[a-z]+(?:[-/'][a-z]+)*|[A-Z_]+)[.:!?)\]>]*").fullmatch
_RAW_HEADERS = re.compile(r"raw_?[hH]eaders\\{0,8}+[\"']?\s*+[:=]\s*+\[")
# A printed list of texts: `['app', '--password', 'x']`.
_TEXT_LIST = re.compile(r"\[(?=\s*+\\{0,8}+[\"'])")
_ITEM = re.compile(r"[\s,]*+(\\{0,8}+[\"'])((?:(?!\1)(?:\\.|[^\\]))*+)(?:\1|\\?\Z)", re.DOTALL).match
# Short options: `mysql -px`, `sshpass -p x`, `redis-cli -a x`, `curl -b name=x`, `-u ann:x`.
SHORT_OPTION = re.compile(r" -(?:[pPauUb] |p\S|u\S|(?:-?pass|passwd|password|passin|passout|token|secret)[ :])").search
# `ann:x@tcp(db:3306)/`, `ann:x@db:5432`, `ann:x@db/`; but not `to:ann@example.com`.
_PLAIN_USERINFO = re.compile(
    r"(?<![\w/:@.\-])([A-Za-z][\w.\-]{0,60}+):([^\s:@/\"'<>=]{3,100}+)@(?=(?:tcp|unix)\(|[A-Za-z0-9][\w.\-]{0,100}+(?::\d{2,5}\b|/))"
)
_OPTION = re.compile(r"--(?<!\S--)[A-Za-z][\w\-]{1,99}[ \t:]").search
# Keys in percent-encoded text, once or several times: `password%3Dx`, `%22password%22%3A%22x%22`.
_ESCAPED = r"%(?:25){0,3}"
_ENCODED_KEY = re.compile(
    r"(?:(?<![\w%.\-])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
    rf"([A-Za-z][\w.\-]{{1,99}})(?:{_ESCAPED}22)?(?:{_ESCAPED}20|\+){{0,4}}{_ESCAPED}3[ADad](?!{_ESCAPED}2[Ff])"
    rf"(?:{_ESCAPED}20|\+){{0,4}}({_ESCAPED}22)?"
)
_ENCODED_QUOTED = re.compile(rf"(?:{_ESCAPED}5[Cc]{_ESCAPED}22|(?!{_ESCAPED}22)[^\s&\"'<>])+")
_ENCODED_VALUE = re.compile(rf"(?:(?!{_ESCAPED}(?:2[26]|7[Dd]|0[ADad]))[^\s&\"'<>])+")
_ENCODED = re.compile(r"%(?:25){0,3}3[ADad]").search
# A word right before a colon and something right behind it, but neither a URL nor a route `/<int:id>`.
_COLON = re.compile(r"[A-Za-z]\]?:(?!//|\d{1,5}[/?#]|\w{1,40}>)\S").search
_HOST_PORT = re.compile(r"(?:[a-z]+://)?[\w.\-]+:\d{1,5}").fullmatch
_TOKEN_USER = re.compile(r"((?<![\w/\\])(?:\\{0,8}/){2})[^/\s:@?#\"']{20,}@")
_USERINFO = re.compile(r"((?<![/\\])(?:\\{0,8}/){2}[^/\s:@?#\"']*):([^/\s@?#\"']*)@")
_LAST_WORD = re.compile(r"(?<=\s)\S++\Z")
# Colours of a terminal, as they are and as syslog, JSON and languages write them: `\x1b[36mpassword=\x1b[0m`.
ESCAPE: Final = "\x1b"
_COLOUR = re.compile(r"(?:\x1b|#033|\\(?:x1[bB]|u001[bB]|033|e))\[[0-9;:?]{0,32}[A-Za-z]")
# Encoding a form leaves no quote, brace or question mark in a name; JSON without blanks has them.
_FORM = re.compile(r"[^\s=&\"'<>{}?]{1,200}+=[^\s&]*+(?:&[^\s=&\"'<>{}?]{1,200}+=[^\s&]*+)*+&?").fullmatch


def cut(text: str) -> str:
    """The text, or its first MAX_TEXT_CHARS without the word that the cut would halve."""
    if len(text) <= MAX_TEXT_CHARS:
        return text
    return text[: MAX_TEXT_CHARS - _MAX_LAST_WORD_CHARS] + _LAST_WORD.sub(
        "", text[MAX_TEXT_CHARS - _MAX_LAST_WORD_CHARS : MAX_TEXT_CHARS]
    )


def uncoloured(text: str) -> str | None:
    """The text without the colours of a terminal and without escapes; None for one without any."""
    if "[" not in text or _COLOUR.search(text) is None:
        return None
    return _COLOUR.sub("", text).replace(ESCAPE, "")


def may_hide_secrets(text: str) -> bool:
    """False for texts that no mask changes, unless the key they stand under or a value pattern says so."""
    return (
        '"' in text
        or "'" in text
        or "=" in text
        or "@" in text
        or "</" in text
        or "--" in text
        or "->" in text
        or (" -" in text and SHORT_OPTION(text) is not None)
        or (":" in text and _colon_tells(text))
        or ("%" in text and _ENCODED(text) is not None)
        or (not text.isascii() and ("\u2192" in text or garbled(text)))
    )


def _colon_tells(text: str) -> bool:
    if ": " in text or ":\t" in text or "{" in text or "map[" in text:
        return True
    return _COLON(text) is not None and _HOST_PORT(text) is None


def beyond_keys(text: str) -> bool:
    """True for texts that may hold secrets where `mentions` does not look: command lines, percent-encoded text."""
    return (
        ("--" in text and _OPTION(text) is not None)
        or "'-" in text
        or '"-' in text
        or "curl" in text
        or "/p:" in text
        or "/P:" in text
        or (" -" in text and SHORT_OPTION(text) is not None)
        or ("%" in text and _ENCODED(text) is not None)
        or ("=" in text and ("D=" in text or "T=" in text or "N=" in text or "Y=" in text))
    )


# What all texts of which `beyond_keys` is true have in them, as bytes.
BEYOND_KEYS: Final = rb"--[A-Za-z]|curl|/[pP]:| -[pPauUbts]|['\"]-|%(?:25){0,3}3[ADad]|[DTNY]="


def hide_behind(text: str, keys: re.Pattern[str], value_of: Callable[[re.Match[str]], tuple[int, str] | None]) -> str:
    """The text with values hidden. value_of: where the value of a found key ends and what is shown behind the key
    instead; None: it may be read, and other keys may be in it."""
    out: list[str] = []
    at = 0
    for found in keys.finditer(text):
        if found.start() >= at and (value := value_of(found)) is not None:
            out += text[at : found.end()], value[1]
            at = value[0]
    return "".join((*out, text[at:])) if out else text


def quoted_pairs(text: str, secret: Secret) -> str:
    """Values after quoted keys: `"password": "x"`, `'password': 'x'`, `\\"password\\":\\"x\\"`."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[2]):
            return None
        value = _VALUE.match(text, found.end())
        return value.end() if value is not None else found.end(), f"{found[1]}{MASK}{found[1]}"

    return hide_behind(text, _QUOTED_KEY, value_of)


def tuples(text: str, secret: Secret) -> str:
    """`('password', 'x')` and `[b'cookie', b'x']`."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[3]) or (value := _VALUE.match(text, found.end())) is None:
            return None
        # ['password', 'email'] more often lists fields than a field and its value.
        lists = found[1] == "[" and PLAIN_WORD(value[0].strip("\\\"'"))
        if lists or not _PAIR_END(text, value.end()):
            return None
        return value.end(), f"{found[2]}{MASK}{found[2]}"

    return hide_behind(text, _PAIR_KEY, value_of)


def bare_pairs(text: str, secret: Secret) -> str:
    """`password=x` as in logfmt, forms, connection strings and command lines."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        # Only the value of a masked key is passed over: `args=password=x` and `cmd="password=x"` hold another pair.
        value = _BARE_VALUE.match(text, found.end()) if _hides(found, secret) else None
        if value is None:
            return None
        if found[1].lower().endswith("cookie") and (more := _MORE_COOKIES.match(text, value.end())):
            return more.end(), MASK
        return value.end(), MASK

    return hide_behind(text, _BARE_KEY, value_of)


def colon_pairs(text: str, secret: Secret) -> str:
    """`password: "x"`, `password:x`, lines of YAML, and `wrong password: x1` in a sentence."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[1]):
            return None
        begin = found.end()
        while text[begin : begin + 1].isspace():
            begin += 1
        value = (_VALUE if text[begin : begin + 1] in ("\\", '"', "'") else _COLON_VALUE).match(text, begin)
        return value.end() if value is not None else begin, text[found.end() : begin] + MASK

    hidden = hide_behind(text, _COLON_KEY, value_of)
    hidden = _LINE.sub(lambda found: f"{found[1]}{found[2]}: {MASK}" if secret(found[2]) else found[0], hidden)

    def word_of(found: re.Match[str]) -> tuple[int, str] | None:
        value = _SENTENCE_VALUE.match(hidden, found.end()) if secret(found[1].replace(" ", "_")) else None
        return (value.end(), MASK) if value is not None and not PLAIN_WORD(value[0]) else None

    hidden = hide_behind(hidden, _SENTENCE, word_of)
    return hide_behind(hidden, _TWO_WORDS, word_of)


def two_words(text: str, secret: Secret) -> str:
    """`API key = x1`; with a colon it is a sentence, as colon_pairs has it."""

    def word_of(found: re.Match[str]) -> tuple[int, str] | None:
        value = _SENTENCE_VALUE.match(text, found.end()) if secret(found[1].replace(" ", "_")) else None
        return (value.end(), MASK) if value is not None and not PLAIN_WORD(value[0]) else None

    return hide_behind(text, _TWO_WORDS, word_of)


def raw_headers(text: str, secret: Secret) -> str:
    """Node's `rawHeaders: [ 'Host', 'h', 'Cookie', 'x' ]`: names and values in turn."""
    out: list[str] = []
    at = 0
    for found in _RAW_HEADERS.finditer(text):
        place, name = found.end(), None
        if found.start() < at:
            continue
        while (item := _ITEM(text, place)) is not None:
            place = item.end()
            if name is None:
                name = item[2]
                continue
            if secret(name):
                out += text[at : item.start(2)], MASK
                at = item.end(2)
            name = None
    return "".join((*out, text[at:])) if out else text


def printed_lists(text: str, hidden: Callable[[Sequence[str]], dict[int, str]]) -> str:
    """`['app', '--password', 'x']` with what is hidden in such a list. hidden: by index, what is shown of an item."""
    out: list[str] = []
    at = seen = 0
    for found in _TEXT_LIST.finditer(text):
        if found.start() < seen:
            continue
        items: list[tuple[int, int]] = []
        seen = found.end()
        while (item := _ITEM(text, seen)) is not None:
            seen = item.end()
            items.append(item.span(2))
        for index, shown in sorted(hidden([text[begin:end] for begin, end in items]).items()):
            out += text[at : items[index][0]], shown, MASK
            at = items[index][1]
    return "".join((*out, text[at:])) if out else text


def encoded_pairs(text: str, secret: Secret) -> str:
    """`password%3Dx` and `%22password%22%3A%22x%22`: forms, queries and JSON in a query, encoded up to four times."""
    if "%" not in text or _ENCODED(text) is None:
        return text

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[1]):
            return None
        value = (_ENCODED_QUOTED if found[2] else _ENCODED_VALUE).match(text, found.end())
        return (value.end(), QUERY_MASK) if value is not None else None

    return hide_behind(text, _ENCODED_KEY, value_of)


def header_lines(text: str, secret: Secret) -> str:
    """`Authorization: Bearer x` and its like in dumps of requests."""
    return _HEADER_LINE.sub(lambda found: f"{found[1]}: {MASK}" if _hides(found, secret) else found[0], text)


def _hides(found: re.Match[str], secret: Secret) -> bool:
    """True for a masked key, also one that seems to begin with the letter of an escaped line end, `\\npassword`."""
    key = found[1]
    if secret(key):
        return True
    before = found.string[max(found.start() - 1, 0) : found.start()]
    return before == "\\" and key[0] in "nrt" and secret(key[1:])


def passwords_in_urls(text: str) -> str:
    """`scheme://user:password@host` with the password hidden; a long user name alone is a token, and so is one beside
    a stand-in for a password.
    """
    text = _TOKEN_USER.sub(rf"\1{MASK}@", _USERINFO.sub(_without_password, text))
    return _PLAIN_USERINFO.sub(rf"\1:{MASK}@", text)


def _without_password(found: re.Match[str]) -> str:
    before, _, name = found[1].rpartition("/")
    if name and is_key(name, found[2]):
        return f"{before}/{MASK}:{MASK}@"
    return f"{found[1]}:{MASK}@" if found[2] else found[0]


def is_form(text: str) -> bool:
    """True for a text that could be application/x-www-form-urlencoded."""
    return _FORM(text) is not None
