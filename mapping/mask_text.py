"""Masks for text that is almost structure: cut-off JSON, Python reprs, key=value lines, header dumps, XML, URLs.

Every function takes `secret`, which tells whether a key is masked, and gives back the same text when nothing was. Where
the end of a value cannot be known, everything from there on is hidden. All patterns take time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MASK = "[REDACTED]"

Secret = Callable[[str], bool]

_QUOTED_KEY = re.compile(r"(\\{0,8}[\"'])([^\"'\\]{1,200})\1\s*[:=]\s*")
_VALUE = re.compile(
    r"(\\{0,8}[\"'])(?:(?!\1)(?:\\.|[^\\]))*\1"  # a whole quoted text
    r"|[\"'\\\[{].*"  # an open quote or a structure: nobody knows where it ends
    r"|[^\s,}\])]+",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"(?<![\w.\-])([\w.\-]{2,100})\]?[ \t]{0,4}=(?!=)[ \t]{0,4}")
# The secret of `Authorization=Bearer x` is the word after the scheme.
_BARE_VALUE = re.compile(r"\"[^\"]*\"?|'[^']*'?|(?:(?i:bearer|basic|digest|token)[ \t]+)?[^\s,;&\"']+")
# Names of headers, not plain words: "Unexpected token: }" says nothing secret.
_HEADER_LINE = re.compile(
    r"(?:(?<![\w\-])|(?<=\\[nrt]))([a-z]{1,40}(?:-[a-z0-9]{1,40}){1,8}|authorization|cookie|apikey)"
    r":(?:[ \t]|\\{1,8}t)+((?:[a-z][a-z0-9\-]*[ \t]+)?[^\s,;\"']+"
    r"(?:(?<==)\"[^\"]*\")?(?:,[ \t]*[\w\-]+=[^\s,;\"']*(?:(?<==)\"[^\"]*\")?)*(?:;[^\r\n\"']*)?)",  # Digest, AWS4
    re.IGNORECASE,
)
# GraphQL arguments, loose JSON and what Go prints: `password: "x"`, `map[password:x]`, but not `http://token:80`.
_COLON_KEY = re.compile(r"(?<![\w.\-:/@\"'])([A-Za-z][\w\-]{1,99}):(?=\s{0,8}\\{0,8}[\"']|[^\s:/\\])")
_COLON_VALUE = re.compile(r"(?:(?:bearer|basic|digest|token)[ \t]+)?[^\s,;&)}\]\"']+", re.IGNORECASE)
# A line of YAML or of a header dump. In the middle of a sentence such a word is only a word.
_LINE = re.compile(r"^([ \t]*(?:-[ \t]+)?)([A-Za-z][\w\-]{1,99}):[ \t]+(\S[^\r\n]*)", re.MULTILINE)
_FORM_PART = re.compile(
    r"name=\"([^\"]{1,200})\"[^\r\n]{0,200}(?:\r?\n[^\r\n]{1,200}){0,8}\r?\n\r?\n(.*?)(?=\r?\n--|\Z)", re.DOTALL
)
_XML_ELEMENT = re.compile(r"<([\w:.\-]{1,200})((?:\s[^<>]*)?)>(?:<!\[CDATA\[)?([^<]*)</")
_USERINFO = re.compile(r"(:(?:\\{0,8}/){2}[^/\s:@?#\"']*):([^/\s@?#\"']+)@")
# Encoding a form leaves no quote, brace or question mark in a name; JSON without blanks has them.
_FORM = re.compile(r"[^\s=&\"'<>{}?]{1,200}=[^\s&]*(?:&[^\s=&\"'<>{}?]{1,200}=[^\s&]*)*&?").fullmatch


def may_hide_secrets(text: str) -> bool:
    """False for texts that no mask changes, unless the key they stand under or a value pattern says so."""
    return (
        '"' in text
        or "'" in text
        or "=" in text
        or ": " in text
        or "@" in text
        or ":\t" in text
        or "</" in text
        or (":" in text and ("{" in text or "map[" in text))
    )


def quoted_pairs(text: str, secret: Secret) -> str:
    """Values after quoted keys: `"password": "x"`, `'password': 'x'`, `\\"password\\":\\"x\\"`."""
    out: list[str] = []
    at = 0
    for found in _QUOTED_KEY.finditer(text):
        if found.start() >= at and secret(found[2]):
            value = _VALUE.match(text, found.end())
            out += text[at : found.end()], found[1], MASK, found[1]
            at = value.end() if value is not None else found.end()
    return "".join((*out, text[at:])) if out else text


def bare_pairs(text: str, secret: Secret) -> str:
    """`password=x` as in logfmt, forms, connection strings and command lines."""
    out: list[str] = []
    at = 0
    for found in _BARE_KEY.finditer(text):
        # Only the value of a masked key is passed over: `args=password=x` and `cmd="password=x"` hold another pair.
        if found.start() >= at and _hides(found, secret) and (value := _BARE_VALUE.match(text, found.end())):
            out += text[at : found.end()], MASK
            at = value.end()
    return "".join((*out, text[at:])) if out else text


def colon_pairs(text: str, secret: Secret) -> str:
    """`password: "x"`, `password:x`, and lines of YAML."""
    out: list[str] = []
    at = 0
    for found in _COLON_KEY.finditer(text):
        if found.start() >= at and secret(found[1]):
            begin = found.end()
            while text[begin : begin + 1].isspace():
                begin += 1
            value = (_VALUE if text[begin : begin + 1] in ("\\", '"', "'") else _COLON_VALUE).match(text, begin)
            out += text[at:begin], MASK
            at = value.end() if value is not None else begin
    text = "".join((*out, text[at:])) if out else text
    return _LINE.sub(lambda found: f"{found[1]}{found[2]}: {MASK}" if secret(found[2]) else found[0], text)


def form_parts(text: str, secret: Secret) -> str:
    """Fields of a multipart/form-data body."""
    if 'name="' not in text:
        return text

    def shown(found: re.Match[str]) -> str:
        return text[found.start() : found.start(2)] + MASK if secret(found[1]) else found[0]

    return _FORM_PART.sub(shown, text)


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


def xml_elements(text: str, secret: Secret) -> str:
    """The text of XML elements; a namespace prefix does not count."""
    return _XML_ELEMENT.sub(
        lambda found: f"<{found[1]}{found[2]}>{MASK}</" if secret(found[1].rpartition(":")[2]) else found[0], text
    )


def passwords_in_urls(text: str) -> str:
    """`scheme://user:password@host` with the password hidden."""
    return _USERINFO.sub(rf"\1:{MASK}@", text)


def is_form(text: str) -> bool:
    """True for a text that could be application/x-www-form-urlencoded."""
    return _FORM(text) is not None
