"""Masks for text that is almost structure: cut-off JSON, Python reprs, key=value lines, header dumps, XML, URLs.

Every function takes `secret`, which tells whether a key is masked, and gives back the same text when nothing was. Where
the end of a value cannot be known, everything from there on is hidden. All patterns take time linear in the text.

By hand: parsers give up at the first odd character, and the secret would still stand behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from mapping.masks.mask import MASK, QUERY_MASK
from mapping.masks.neighbours import PASS_OPTIONS
from mapping.rules.codings import garbled

# A text that masks look through is cut here: what stands behind was not looked at and does not leave. Header blocks,
# stack traces and log lines are shorter; 64 Ki characters take some ten milliseconds at worst.
MAX_TEXT_CHARS = 64 * 1024
_MAX_LAST_WORD_CHARS = 1024  # of a word that the cut would leave half: half a secret has no end to be known by

Secret = Callable[[str], bool]

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
    r"\"[^\"]*\"?|'[^']*'?|\\{1,8}[\"'][^\"']*|(?:(?i:bearer|basic|digest|token)[ \t]+)?[^\s,;&\"']+"
)
# Names of headers, not plain words: "Unexpected token: }" says nothing secret.
_HEADER_LINE = re.compile(
    r"(?:(?<![\w\-])|(?<=\\[nrt]))([a-z]{1,40}(?:-[a-z0-9]{1,40}){1,8}|authorization|cookie|apikey)"
    r"[ \t]?:(?:[ \t]|\\{1,8}t)*((?:[a-z][a-z0-9\-]*[ \t]+)?[^\s,;\"']+"
    r"(?:(?<==)\"[^\"]*\")?(?:,[ \t]*[\w\-]+=[^\s,;\"']*(?:(?<==)\"[^\"]*\")?)*(?:;[^\r\n\"']*)?)",  # Digest, AWS4
    re.IGNORECASE,
)
# GraphQL arguments, loose JSON and what Go prints: `password: "x"`, `map[password:x]`, but not `http://token:80`.
_COLON_KEY = re.compile(
    r"(?:(?<![\w.\-:/@\"'])|(?<=\s/)|(?<=^/))([A-Za-z][\w\-]{1,99}):(?=\s{0,8}\\{0,8}[\"']|[^\s:=/\\])"
)
_COLON_VALUE = re.compile(re.escape(MASK) + r"|(?:(?:bearer|basic|digest|token)[ \t]+)?[^\s,;&)}\]\"']+", re.IGNORECASE)
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
_PLAIN_WORD = re.compile(r"[^A-Za-z0-9]*|[(\[<]?(?:[A-Z]?[a-z]+(?:[-/'][a-z]+)*|[A-Z_]+)[.:!?)\]>]*").fullmatch
_RAW_HEADERS = re.compile(r"raw_?[hH]eaders\\{0,8}+[\"']?\s*+[:=]\s*+\[")
# A printed list of texts: `['app', '--password', 'x']`.
_TEXT_LIST = re.compile(r"\[(?=\s*+\\{0,8}+[\"'])")
_ITEM = re.compile(r"[\s,]*+(\\{0,8}+[\"'])((?:(?!\1)(?:\\.|[^\\]))*+)(?:\1|\\?\Z)", re.DOTALL).match
# Short options: `mysql -px`, `sshpass -p x`, `redis-cli -a x`, `curl -b name=x`, `-u ann:x`.
_SHORT_OPTION = re.compile(r" -(?:[pauUb] |p\S|u\S|(?:-?pass|passwd|password|passin|passout|token|secret)[ :])").search
_PROGRAM_PASSWORD = re.compile(
    r"\b(?:(?:mysql|mariadb)[a-z\-]{0,20}+(?= )[^\r\n|;&]{0,200}? -p|sshpass -p ?|redis-cli [^\r\n|;&]{0,200}?-a )"
    r"(?P<quote>\\{0,8}+[\"'])?(?=[^\s\"'])"
)
_CURL_COOKIE = re.compile(
    r"\bcurl [^\r\n|;&]{0,200}?(?:-b|--cookie)[ =](?P<quote>\\{0,8}+[\"'])?(?=[^\s\"'=]{1,100}+=)"
)
_USER_OPTION = re.compile(
    r"(?<=\s)(?:-[uU][ =]?|--(?:(?:proxy-)?user(?:name)?|(?:basic-)?auth)[ =])"
    r"(?P<quote>\\{0,8}+[\"'])?[A-Za-z][^\s:\"'/]{0,200}+:(?=[^\s\"'])"
)
# `ann:x@tcp(db:3306)/`, `ann:x@db:5432`, `ann:x@db/`; but not `to:ann@example.com`.
_PLAIN_USERINFO = re.compile(
    r"(?<![\w/:@.\-])([A-Za-z][\w.\-]{0,60}+):([^\s:@/\"'<>=]{3,100}+)@(?=(?:tcp|unix)\(|[A-Za-z0-9][\w.\-]{0,100}+(?::\d{2,5}\b|/))"
)
# `--password x1`, `-password x1` and `--password:x1` of a command line; `--token is needed` is a sentence.
_OPTION_WORD = re.compile(r"-(?<!\S-)-?([A-Za-z][\w\-]{1,99})(?:[ \t]+|:)(?P<quote>\\{0,8}[\"'])?(?=[^\s\"'])")
_OPTION = re.compile(r"--(?<!\S--)[A-Za-z][\w\-]{1,99}[ \t:]").search
_CURL_USER = re.compile(
    r"(?<!\S)(?:-[uU]|--(?:proxy-)?user)(?:=|[ \t]{0,4})(?:(?P<quote>\\{0,8}[\"'])[^\s:\"']{0,200}|[^\s:\"']{1,200}):"
)
_SHELL_WORD_END = re.compile(r"[\s\"'\\]").search
# Variables of an environment: `PGPASSWORD=x psql`. The group is the key that says whether they are masked.
_ENVIRONMENT = re.compile(
    r"(?<!\w)[A-Z][A-Z0-9_]*?(PASSWORD|PASSWD|PWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|SECRET(?=_(?:ACCESS_)?KEY))"
    r"(?:_(?:ACCESS_)?KEY)?=(?P<quote>\\{0,8}[\"'])?"
)
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
_LINE_END = r"(?:\r?\n|(?:\\{1,8}r)?\\{1,8}n)"  # as it is, or escaped as in JSON and Python's repr
_FORM_NAME = re.compile(r"(?:(?<!\w)|(?<=\\[nrt]))name=\\{0,8}+\"([^\"\\]{1,200}+)\\{0,8}+\"")
_EMPTY_LINE = re.compile(_LINE_END + _LINE_END).search
_MAX_PART_HEADER_CHARS = 2000  # behind the name of a form's part; other texts hold name="x" too
_PART_END = re.compile(rf"{_LINE_END}--").search
# Without an end where the text was cut.
_XML_ELEMENT = re.compile(r"<([\w:.\-]{1,200}+)((?:\s[^<>]*+)?)>(?:<!\[CDATA\[)?([^<]*+)(</|\Z)")
# One step of a walk through tags: where a tag ends, a name, a value.
_TAG_STEP = re.compile(
    r"[<>]|\b(?:name|key)=(\\{0,8}+[\"'])([^\"'<>\\]{1,200}+)\1|(?<=\s)value=(?P<quote>\\{0,8}+[\"'])(?=[^\"'])"
)
_TOKEN_USER = re.compile(r"((?<![\w/\\])(?:\\{0,8}/){2})[^/\s:@?#\"']{20,}@")
_USERINFO = re.compile(r"((?<![\w/\\])(?:\\{0,8}/){2}[^/\s:@?#\"']*):([^/\s@?#\"']+)@")
_LAST_WORD = re.compile(r"(?<=\s)\S++\Z")
# Encoding a form leaves no quote, brace or question mark in a name; JSON without blanks has them.
_FORM = re.compile(r"[^\s=&\"'<>{}?]{1,200}+=[^\s&]*+(?:&[^\s=&\"'<>{}?]{1,200}+=[^\s&]*+)*+&?").fullmatch


def cut(text: str) -> str:
    """The text, or its first MAX_TEXT_CHARS without the word that the cut would halve."""
    if len(text) <= MAX_TEXT_CHARS:
        return text
    return text[: MAX_TEXT_CHARS - _MAX_LAST_WORD_CHARS] + _LAST_WORD.sub(
        "", text[MAX_TEXT_CHARS - _MAX_LAST_WORD_CHARS : MAX_TEXT_CHARS]
    )


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
        or (" -" in text and _SHORT_OPTION(text) is not None)
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
        or (" -" in text and _SHORT_OPTION(text) is not None)
        or ("%" in text and _ENCODED(text) is not None)
        or ("=" in text and ("D=" in text or "T=" in text or "N=" in text or "Y=" in text))
    )


# What all texts of which `beyond_keys` is true have in them, as bytes.
BEYOND_KEYS: Final = rb"--[A-Za-z]|curl| -[pauUbts]|['\"]-|%(?:25){0,3}3[ADad]|[DTNY]="


def _hidden(text: str, keys: re.Pattern[str], value_of: Callable[[re.Match[str]], tuple[int, str] | None]) -> str:
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

    return _hidden(text, _QUOTED_KEY, value_of)


def tuples(text: str, secret: Secret) -> str:
    """`('password', 'x')` and `[b'cookie', b'x']`."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[3]) or (value := _VALUE.match(text, found.end())) is None:
            return None
        # ['password', 'email'] more often lists fields than a field and its value.
        lists = found[1] == "[" and _PLAIN_WORD(value[0].strip("\\\"'"))
        if lists or not _PAIR_END(text, value.end()):
            return None
        return value.end(), f"{found[2]}{MASK}{found[2]}"

    return _hidden(text, _PAIR_KEY, value_of)


def bare_pairs(text: str, secret: Secret) -> str:
    """`password=x` as in logfmt, forms, connection strings and command lines."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        # Only the value of a masked key is passed over: `args=password=x` and `cmd="password=x"` hold another pair.
        value = _BARE_VALUE.match(text, found.end()) if _hides(found, secret) else None
        return (value.end(), MASK) if value is not None else None

    return _hidden(text, _BARE_KEY, value_of)


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

    hidden = _hidden(text, _COLON_KEY, value_of)
    hidden = _LINE.sub(lambda found: f"{found[1]}{found[2]}: {MASK}" if secret(found[2]) else found[0], hidden)

    def word_of(found: re.Match[str]) -> tuple[int, str] | None:
        value = _SENTENCE_VALUE.match(hidden, found.end()) if secret(found[1].replace(" ", "_")) else None
        return (value.end(), MASK) if value is not None and not _PLAIN_WORD(value[0]) else None

    hidden = _hidden(hidden, _SENTENCE, word_of)
    return _hidden(hidden, _TWO_WORDS, word_of)


def two_words(text: str, secret: Secret) -> str:
    """`API key = x1`; with a colon it is a sentence, as colon_pairs has it."""

    def word_of(found: re.Match[str]) -> tuple[int, str] | None:
        value = _SENTENCE_VALUE.match(text, found.end()) if secret(found[1].replace(" ", "_")) else None
        return (value.end(), MASK) if value is not None and not _PLAIN_WORD(value[0]) else None

    return _hidden(text, _TWO_WORDS, word_of)


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


def command_lines(text: str, secret: Secret) -> str:
    """`--password x`, `PGPASSWORD=x psql`, `curl -u user:x`."""
    if "--" in text or " -" in text:
        text = _hidden_words(
            text,
            _OPTION_WORD,
            lambda found, word: (
                (secret(found[1]) or (found[1].lower() in PASS_OPTIONS and secret("password")))
                and not _PLAIN_WORD(word)
            ),
        )
    if secret("password"):
        if "curl" in text:
            text = _hidden_words(text, _CURL_USER, lambda found, word: True)
            text = _hidden_words(text, _CURL_COOKIE, lambda found, word: True)
        if " -" in text and ("--" in text or _SHORT_OPTION(text) is not None):
            text = _hidden_words(text, _PROGRAM_PASSWORD, lambda found, word: True)
            text = _hidden_words(text, _USER_OPTION, lambda found, word: not word.isdigit())
    if "=" in text:
        text = _hidden_words(text, _ENVIRONMENT, lambda found, word: secret(found[1]))
    return text


def _hidden_words(text: str, before: re.Pattern[str], hides: Callable[[re.Match[str], str], bool]) -> str:
    """The text with words of a shell hidden that stand right behind `before`, whose group `quote` is their quote."""

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        begin = found.end()
        if found["quote"]:
            end = text.find(found["quote"], begin)
        else:
            stop = _SHELL_WORD_END(text, begin)
            end = stop.start() if stop is not None else -1
        end = len(text) if end < 0 else end
        return (end, MASK) if end > begin and hides(found, text[begin:end]) else None

    return _hidden(text, before, value_of)


def encoded_pairs(text: str, secret: Secret) -> str:
    """`password%3Dx` and `%22password%22%3A%22x%22`: forms, queries and JSON in a query, encoded up to four times."""
    if "%" not in text or _ENCODED(text) is None:
        return text

    def value_of(found: re.Match[str]) -> tuple[int, str] | None:
        if not secret(found[1]):
            return None
        value = (_ENCODED_QUOTED if found[2] else _ENCODED_VALUE).match(text, found.end())
        return (value.end(), QUERY_MASK) if value is not None else None

    return _hidden(text, _ENCODED_KEY, value_of)


def form_parts(text: str, secret: Secret) -> str:
    """Fields of a multipart/form-data body."""
    if 'name="' not in text and "name=\\" not in text:
        return text

    out: list[str] = []
    at = 0
    names = list(_FORM_NAME.finditer(text))
    if not names:
        return text
    for found, following in zip(names, [*(name.start() for name in names[1:]), len(text)], strict=True):
        # A part's header ends before the next name does: each stretch of the text is looked through once.
        limit = min(following, found.end() + _MAX_PART_HEADER_CHARS)
        if found.start() < at or not secret(found[1]) or (empty := _EMPTY_LINE(text, found.end(), limit)) is None:
            continue
        end = _PART_END(text, empty.end())
        out += text[at : empty.end()], MASK
        at = end.start() if end is not None else len(text)
    return "".join((*out, text[at:])) if out else text


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
        lambda found: f"<{found[1]}{found[2]}>{MASK}{found[4]}" if secret(found[1].rpartition(":")[2]) else found[0],
        text,
    )


def value_attributes(text: str, secret: Secret) -> str:
    """`<add key="password" value="x"/>`, `<input value="x" name="password">`: a name and a value in one tag."""
    spans: list[tuple[int, int]] = []  # of values to hide
    values: list[tuple[int, int]] = []  # of this tag
    named, at = False, 0

    for found in _TAG_STEP.finditer(text):
        if found.start() < at:
            continue
        if found[2]:
            named = named or secret(found[2])
        elif found["quote"]:
            end = text.find(found["quote"], found.end())
            at = end if end >= 0 else len(text)
            values.append((found.end(), at))
        else:
            spans += values if named else ()
            values, named = [], False
    spans += values if named else ()
    out: list[str] = []
    at = 0
    for begin, end in spans:
        out += text[at:begin], MASK
        at = end
    return "".join((*out, text[at:])) if out else text


def passwords_in_urls(text: str) -> str:
    """`scheme://user:password@host` with the password hidden; a long user name alone is a token."""
    text = _TOKEN_USER.sub(rf"\1{MASK}@", _USERINFO.sub(rf"\1:{MASK}@", text))
    return _PLAIN_USERINFO.sub(rf"\1:{MASK}@", text)


def is_form(text: str) -> bool:
    """True for a text that could be application/x-www-form-urlencoded."""
    return _FORM(text) is not None
