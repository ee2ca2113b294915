"""Secrets in lists of texts, where the item before says what an item is.

Command lines (`["--password", "x"]`, `["-u", "ann:x"]`), and headers as Node's `rawHeaders` has them
(`["Host", "h", "Authorization", "Bearer x"]`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

Found = TypeVar("Found")

_MAX_NAME_CHARS: Final = 128  # no option or header has a longer name

_MOST_OPTIONS: Final = 64  # of a command line among which the user is looked for

_OPTION: Final = re.compile(r"(?:--?|/)[A-Za-z][\w.\-]{1,100}").fullmatch
_NAME: Final = re.compile(r"[A-Za-z][\w\-]{0,100}").fullmatch
PORT_OR_PATH: Final = re.compile(r"[\d:.,\-/]*|[.~/].*|\d+:.*|[A-Za-z]:[\\/].*", re.DOTALL).fullmatch
# What may stand behind a name in a list of names (`["password", "email"]`): one more word.
_PLAIN_WORD: Final = re.compile(r"[^A-Za-z0-9]*|[A-Za-z]+(?:[\-_][A-Za-z]+)*").fullmatch
_IDS: Final = re.compile(r"[\w.\-]*:\d*").fullmatch  # `docker run -u 1000:1000`


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Programs whose -p is a port, a path or a process, and whose -a is something else.
_NO_PASSWORD_OPTION: Final = _set("""
    mkdir cp git patch install npm ps unzip python python3 node java ssh scp nc kubectl docker-compose helm pytest tar
    useradd cargo go make rsync curl wget read tail ls uvicorn gunicorn http-server
    """)
# The same in the middle of a text, where less is known: names of many programs stand there.
_NO_PASSWORD_IN_TEXT: Final = _NO_PASSWORD_OPTION | _set("""
    docker podman compose pip pip3 poetry uv cmake tox nox tmux screen xargs lsof nmap netstat ss fuser dig psql pg_dump
    pg_restore pg_dumpall createdb dropdb redis-cli telnet socat iperf iperf3 ab wrk hey perl sed install chmod jq
    gradle dotnet msbuild terraform vagrant grep rg find kill cd man cpio du df touch test adb claude ruby php gcc cc ld
    nginx httpd apachectl haproxy squid ansible ansible-playbook top pkill pgrep apt apt-get dpkg yarn pnpm npx bun
    deno jest mvn bazel rake vim tee
    """)
_ATTACHED: Final = _set("mysql mysqldump mysqladmin mysqlimport mariadb mariadb-dump sshpass")
_PASSWORD_OF: Final = {"redis-cli": "-a", "ldapsearch": "-w", "ldapmodify": "-w", "sqlcmd": "-P", "bcp": "-P"}
_TOLD_WITHIN: Final = _ATTACHED | _PASSWORD_OF.keys()
_USER_OPTIONS: Final = frozenset(("-u", "-U", "--user", "--proxy-user", "--auth", "--basic-auth"))
# As names of anything else than an option they are no secrets.
PASS_OPTIONS: Final = frozenset(("pass", "passin", "passout"))

# One of these at an even place of an even list says that the list holds headers, each name before its value.
_COMMON_HEADERS: Final = _set("""
    host user-agent accept accept-encoding accept-language content-type content-length connection date server
    cache-control origin referer x-forwarded-for
    """)


class Hidden(NamedTuple):
    """What of an item is hidden: everything behind `shown`."""

    shown: str
    verdict: object


def hidden_items(items: Sequence[object], verdict_of: Callable[[str], Found | None]) -> dict[int, Hidden]:
    """The items of a list that are the secret of the item before, by index; {} for nearly all lists."""
    if len(items) > 1 and _are_headers(items):
        return _of_headers(items, verdict_of)
    found: dict[int, Hidden] = {}
    program = _program(items[0]) if items else ""
    before: object = None
    for index, item in enumerate(items):
        if isinstance(item, str):
            if isinstance(before, str) and index - 1 not in found:
                hidden = _behind(before, item, program, verdict_of)
                if hidden is not None:
                    found[index] = hidden
            if item[:3] == "/p:" and len(item) > 3 and "=" not in item and _names_a_user(items):
                found[index] = Hidden("/p:", "mask")  # FreeRDP; `/p:Name=x` of MSBuild is a property
            if item in _TOLD_WITHIN:
                program = item  # behind a shell, sudo, env or a container's runtime
            if program in _ATTACHED and item[:2] == "-p" and len(item) > 2:
                found[index] = Hidden("-p", "mask")
        before = item
    return found


def _names_a_user(items: Sequence[object]) -> bool:
    return any(isinstance(item, str) and item[:3] == "/u:" for item in items[:_MOST_OPTIONS])


def _behind(before: str, item: str, program: str, verdict_of: Callable[[str], Found | None]) -> Hidden | None:
    if not item or not 0 < len(before) <= _MAX_NAME_CHARS:
        return None
    if before[0] not in "-/":
        # A bare name and its value; a list of names is more likely when one more word follows.
        bare = _NAME(before) is not None and _PLAIN_WORD(item) is None and verdict_of(before)
        return Hidden("", bare) if bare else None
    if before in _USER_OPTIONS:
        name, colon, _ = item.partition(":")
        return Hidden(name + colon, "mask") if colon and "//" not in item and _IDS(item) is None else None
    if before == _PASSWORD_OF.get(program) and item[0] != "-":
        return Hidden("", "mask")
    if before in ("-p", "-P", "-pw"):
        ours = item[0] != "-" and program not in _NO_PASSWORD_OPTION and PORT_OR_PATH(item) is None
        return Hidden("", "mask") if ours else None
    if _OPTION(before) is None or item[:2] == "--":
        return None
    name = before.lstrip("-/")
    verdict = verdict_of("password" if name.lower() in PASS_OPTIONS else name)
    return Hidden("", verdict) if verdict is not None else None


def _are_headers(items: Sequence[object]) -> bool:
    if len(items) % 2:
        return False
    names = items[::2]
    return all(isinstance(name, str) and _NAME(name) is not None for name in names) and any(
        isinstance(name, str) and name.lower() in _COMMON_HEADERS for name in names
    )


def _of_headers(items: Sequence[object], verdict_of: Callable[[str], Found | None]) -> dict[int, Hidden]:
    found = {}
    for index in range(0, len(items), 2):
        name = items[index]
        if isinstance(name, str) and (verdict := verdict_of(name)) is not None:
            found[index + 1] = Hidden("", verdict)
    return found


def takes_a_password(words: Sequence[str]) -> bool:
    """False for a command line, up to its option `-p`, of a program whose -p is something else than a password."""
    return "login" in words or _NO_PASSWORD_IN_TEXT.isdisjoint(map(_program, words))


def _program(item: object) -> str:
    return item.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe") if isinstance(item, str) else ""
