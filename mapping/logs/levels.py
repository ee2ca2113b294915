"""Severity numbers of the levels that loggers write (spec/mapping.md §6 L4): words of all, numbers by their scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mapping.bounds import MOST_SEVERE
from mapping.rules.names import CONTEXTS, LONGEST_KEY, split_name

_NUMBERS = {
    1: "trace trc trce verbose vrb finest silly all t v",
    3: "finer",
    5: "debug dbg dbug debg fine deb d dev",
    7: "config",
    9: "info inf information informational i log http success",
    10: "notice note ntc",
    13: "warn warning wrn w warnings",
    17: "error err erro severe e eror failure fail",
    21: "fatal ftl critical crit crt f dpanic",  # critical as Python and .NET map it
    22: "alert alrt",
    24: "emerg emergency panic pnc",
}
INFO = 9
_WORDS = {word: number for number, words in _NUMBERS.items() for word in words.split()}
_OTEL_WORD = re.compile(r"(trace|debug|info|warn|error|fatal)([234])").fullmatch
_OFFSET = re.compile(r"([a-z]{4,5})([+-][0-9]{1,2})").fullmatch  # Go's slog: INFO+2
_COLOURED = re.compile(r"\x1b\[[0-9;]{0,12}m")
_GLOG = {"I": 9, "W": 13, "E": 17, "F": 21}
_OPENS = frozenset("[(<|")
# What syslog writes before a line: its facility and severity as a number; time, host, program, process and kind.
_PRIORITY = re.compile(r"<([0-9]{1,3})>(?:1 (?:\S{1,128}+ ){5}-?)?").match
# java.util.logging writes the level into a line of its own, below the time and the place.
_JAVA = re.compile(r"[A-Z][a-z]{2} [0-9]{1,2}, [0-9]{4} [^\n]{1,120}\n([A-Z]{4,7}): ").match
_SIGNS = re.compile(r"[0-9\[\]()|.#,:/=-]").search
_LEVEL_WITHIN = 160  # characters of a line in which its level is looked for
_MOST_WORDS = 8  # before which it stands
_LONGEST = 48  # characters of a level, colours included

Scale = Mapping[int, int]


def _with_between(tens: Scale) -> Scale:
    """The scale, and levels of one's own between those of a logger: they count as the next lower one."""
    return {number: tens[number // 10 * 10] for number in range(min(tens), max(tens) + 10)}


_PINO = _with_between({10: 1, 20: 5, 30: 9, 40: 13, 50: 17, 60: 21})  # and bunyan
_MONOLOG = {100: 5, 200: 9, 250: 10, 300: 13, 400: 17, 500: 21, 550: 22, 600: 24}
_LOG4JS = {5000: 1, 10000: 5, 20000: 9, 30000: 13, 40000: 17, 50000: 21}  # and Logback's level_value
_PYTHON = {5: 1, **_with_between({10: 5, 20: 9, 30: 13, 40: 17, 50: 21})}
_GOOGLE = {100: 5, 200: 9, 300: 10, 400: 13, 500: 17, 600: 21, 700: 22, 800: 24}
_SEVERITY = {**{number: number for number in range(9, MOST_SEVERE + 1)}, **_GOOGLE}  # OTel's, where not syslog's
_MONTHS = frozenset("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())  # noqa: SIM905
_SYSLOG = {0: 24, 1: 22, 2: 21, 3: 17, 4: 13, 5: 10, 6: 9, 7: 5}
_OTEL = {number: number for number in range(1, MOST_SEVERE + 1)}
_WORDS_ONLY: Scale = {}
_LEVEL: Scale = {**_PINO, **_MONOLOG, **_LOG4JS}

# The keys, best first, each with what its numbers mean.
_KEYS: dict[str, tuple[int, Scale]] = {
    key: (rank, scale)
    for rank, (keys, scale) in enumerate(
        (
            (("severitynumber",), _OTEL),
            (("levelname", "levelstr", "severitytext", "severityname", "leveltext", "loglevelname"), _WORDS_ONLY),
            (("level", "loglevel", "lvl", "@l", "@level", "lev"), _LEVEL),
            (("severity", "logseverity", "sev"), _SEVERITY),
            (("levelvalue",), _LOG4JS),
            (("levelno",), _PYTHON),
            (
                ("priority", "syslogpriority", "syslogseverity", "syslogseveritycode", "severitycode", "levelnum"),
                _SYSLOG,
            ),
        )
    )
    for key in keys
}


_OF_SYSLOG = ("severity", "severitycode", "severity.code", "severity.name", "severityname")


class LevelKey(NamedTuple):
    """A key under which a record's level may be, and what its numbers mean."""

    name: str
    scale: Scale


def level_keys(names: Iterable[str], first: Iterable[str] = ()) -> tuple[LevelKey, ...]:
    """The keys of a flattened record that may hold its level, the best first.

    first: keys that a dialect names for it; other than these, the name of a key decides.
    """
    names = tuple(names)
    found = [(-1, 0, LevelKey(name, _LEVEL)) for name in first if split_name(name)[1] not in _KEYS]
    for name in names:
        above, last = split_name(name) if len(name) <= LONGEST_KEY else ([], "")
        if last == "name" and above[-1:] == ["level"]:  # loguru: record.level.name
            last = f"{above.pop()}name"
        elif last in ("level", "levelstr") and above[-1:] == ["level"]:  # log4js: level.levelStr
            above.pop()
        elif "syslog" in above and (place := ".".join((*above, last))).endswith(_OF_SYSLOG):
            # `syslog.severity`, `log.syslog.severity.code`
            above, last = above[: above.index("syslog")], "severityname" if place.endswith("name") else "syslogseverity"
        if last in _KEYS and CONTEXTS.issuperset(above):
            rank, scale = _KEYS[last]
            # Graylog's GELF has syslog's numbers.
            found.append((rank, len(above), LevelKey(name, _SYSLOG if "short_message" in names else scale)))
    return tuple(key for _, _, key in sorted(found, key=lambda one: one[:2]))


def severity(text: str, values: Mapping[str, object], keys: tuple[LevelKey, ...]) -> tuple[int, str]:
    """(severity number, text) of a record that states no number; 0 where nothing is known.

    text: as sent in the record, kept. values, keys: where a level may be, see `level_keys`.
    """
    if text and (number := level_of(text)):
        return number, text
    for name, scale in keys:
        value = values.get(name)
        if value is not None and (number := level_of(value, scale)):
            return number, text or (value if isinstance(value, str) else "")
    return 0, text


def level_of(value: object, scale: Scale = _LEVEL) -> int:
    """The severity number of a level, 0 for an unknown one."""
    if isinstance(value, str):
        if len(value) > _LONGEST:
            return 0
        word = value.strip().lower()
        if found := _WORDS.get(word, 0):
            return found
        if "\x1b" in word:
            word = _COLOURED.sub("", word)
        word = word.strip("[]<>():| ")
        if found := _WORDS.get(word, 0):
            return found
        if numbered := _OTEL_WORD(word):
            return _WORDS[numbered[1]] + int(numbered[2]) - 1
        if (shifted := _OFFSET(word)) and shifted[1] in _WORDS:
            return min(max(_WORDS[shifted[1]] + int(shifted[2]), 1), MOST_SEVERE)
        if not (word.isascii() and word.isdigit() and len(word) < 6):
            return 0
        value = int(word)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        return 0
    return scale.get(int(value), 0)


def level_in(text: str) -> tuple[int, str]:
    """(severity number, word) of the level that a line in plain text names before its message; (0, "") without one.

    Before it may stand what has a digit or a sign in it, as times, threads and loggers do, and words in capitals.
    """
    text = text[:_LEVEL_WITHIN]
    if "\x1b" in text:
        text = _COLOURED.sub("", text)
    if text[:1] == "<" and (priority := _PRIORITY(text)) is not None:
        found = _level_in(text[priority.end() :])
        return found if found[0] else (_SYSLOG[int(priority[1]) % len(_SYSLOG)], "")
    found = _level_in(text)
    if not found[0] and "\n" in text and (of_java := _JAVA(text)) is not None:
        return level_of(of_java[1], _WORDS_ONLY), of_java[1]
    return found


def _level_in(text: str) -> tuple[int, str]:
    if text[:1] in _GLOG and text[1:5].isdigit():  # Kubernetes: E0302 09:00:00.123456
        return _GLOG[text[0]], text[0]
    for place, word in enumerate(text.split(None, _MOST_WORDS)[:_MOST_WORDS]):
        bare = word.strip("[]()<>{}|:,-*")
        if place == 0 and ":" in bare and word[:1].isupper():  # Python's own: ERROR:root:
            bare, word = bare.partition(":")[0], ":"
        if "." in bare:  # Monolog: local.ERROR:
            bare = bare.rpartition(".")[2]
        if "0" <= bare[:1] <= "9":  # a part of a time or an address: no level begins so
            continue
        if place == 0 and bare in _MONTHS:
            continue
        looks_so = (bare.isupper() and len(bare) > 2) or word[:1] in _OPENS or (place == 0 and word[-1:] == ":")
        if looks_so and (found := level_of(bare, _WORDS_ONLY)):
            return found, bare
        if not (_SIGNS(word) or (word.isupper() and len(word) < 6)):
            break
    return 0, ""
