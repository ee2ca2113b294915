"""Masks for command lines in a text: options, variables of an environment, names with passwords behind `-u`."""

from __future__ import annotations

import re
from collections.abc import Callable

from mapping.masks.mask import MASK
from mapping.masks.neighbours import PASS_OPTIONS, PORT_OR_PATH, takes_a_password
from mapping.masks.text import PLAIN_WORD, SHORT_OPTION, Secret, hide_behind

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
# `--password x1`, `-password x1` and `--password:x1` of a command line; `--token is needed` is a sentence.
_OPTION_WORD = re.compile(r"-(?<!\S-)-?([A-Za-z][\w\-]{1,99})(?:[ \t]+|:)(?P<quote>\\{0,8}[\"'])?(?=[^\s\"'])")
# `/p:x` of Windows programs, behind which a word or a port is none.
_SLASH_OPTION = re.compile(r"(?<!\S)/[pP]:(?P<quote>\\{0,8}[\"'])?(?=[^\s\"'])")
# `-p x1` of a program that nobody knows.
_P_OPTION = re.compile(r"(?<=\s)-(?:p|P|pw) (?P<quote>\\{0,8}[\"'])?(?=[^\s\"'\-])")
_BEFORE_OPTION = 200  # characters of a command line in which its program is looked for
_COMMAND_ENDS = re.compile(r"[|;&\r\n]")
# What no port, version, variable, file or pattern looks like: letters with digits or signs among them.
_LIKE_A_PASSWORD = re.compile(
    r"(?=[^\s]{0,64}[A-Za-z])(?=[^\s]{0,64}[0-9!@#$%^&*?+])(?!\$|v?[0-9.]++\Z|[\w\-]++(?:\.[\w\-]++)++\Z)"
    r"[^\s/\\:=<>(){}\[\]|;]{6,128}\Z"
).match
_CURL_USER = re.compile(
    r"(?<!\S)(?:-[uU]|--(?:proxy-)?user)(?:=|[ \t]{0,4})(?:(?P<quote>\\{0,8}[\"'])[^\s:\"']{0,200}|[^\s:\"']{1,200}):"
)
_SHELL_WORD_END = re.compile(r"[\s\"'\\]").search
# Variables of an environment: `PGPASSWORD=x psql`. The group is the key that says whether they are masked.
_ENVIRONMENT = re.compile(
    r"(?<!\w)[A-Z][A-Z0-9_]*?(PASSWORD|PASSWD|PWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|SECRET(?=_(?:ACCESS_)?KEY))"
    r"(?:_(?:ACCESS_)?KEY)?=(?P<quote>\\{0,8}[\"'])?"
)


def command_lines(text: str, secret: Secret) -> str:
    """`--password x`, `PGPASSWORD=x psql`, `curl -u user:x`."""
    if "--" in text or " -" in text:
        text = _hide_words(
            text,
            _OPTION_WORD,
            lambda found, word: (
                (secret(found[1]) or (found[1].lower() in PASS_OPTIONS and secret("password"))) and not PLAIN_WORD(word)
            ),
        )
    if secret("password"):
        if "/p:" in text or "/P:" in text:
            text = _hide_words(
                text,
                _SLASH_OPTION,
                lambda found, word: not (word.isdigit() or PLAIN_WORD(word) or "/" in word or "=" in word),
            )
        if "curl" in text:
            text = _hide_words(text, _CURL_USER, lambda found, word: True)
            text = _hide_words(text, _CURL_COOKIE, lambda found, word: True)
        if " -" in text and ("--" in text or SHORT_OPTION(text) is not None):
            text = _hide_words(text, _PROGRAM_PASSWORD, lambda found, word: True)
            text = _hide_words(text, _USER_OPTION, lambda found, word: not word.isdigit())
            text = _hide_words(text, _P_OPTION, _is_a_password)
    if "=" in text:
        text = _hide_words(text, _ENVIRONMENT, lambda found, word: secret(found[1]))
    return text


def _is_a_password(found: re.Match[str], word: str) -> bool:
    """True for a word behind `-p` that looks like a password, of a program whose -p may be one."""
    if _LIKE_A_PASSWORD(word) is None or PORT_OR_PATH(word) is not None:
        return False
    command = _COMMAND_ENDS.split(found.string[max(found.start() - _BEFORE_OPTION, 0) : found.start()])[-1]
    return takes_a_password(command.split())


def _hide_words(text: str, before: re.Pattern[str], hides: Callable[[re.Match[str], str], bool]) -> str:
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

    return hide_behind(text, before, value_of)
