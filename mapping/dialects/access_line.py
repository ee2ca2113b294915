"""Access lines in plain text, as far as all of them are alike, whatever their format.

In quotes the request line, behind it the status; somewhere the caller's address and the time as the common log format
writes it. Behind what a format names there may be more: pairs, a duration with its unit, Rack's, which has four
decimals, and behind the last text in quotes nginx's `$request_time`, which has three decimals, or gunicorn's, which has
six.
"""

from __future__ import annotations

import re
from typing import Final

from mapping.rules import address

_LONGEST_HEAD: Final = 1024  # characters before the request that are looked at
_MOST_PAIRS: Final = 32  # behind a format
_TEXT: Final = r'(?:[^"\\]|\\.)*+'

REQUEST: Final = (
    r"[A-Z][A-Za-z-]{2,19} [^\s\"\\]{1,16384}+(?:\\\S[^\s\"\\]{0,16384}+){0,64}+(?: (?:HTTP/)?[0-9.]{1,4})?+"
)
STATUS: Final = r"(?:[1-5][0-9]{2}|0)"  # Envoy's 0: nobody waited for the answer

# What is in every line whose format has the status right behind the quoted request, and in few other texts.
_call: Final = re.compile(rf'"({REQUEST})" ({STATUS})(?![0-9])', re.ASCII).search
# The same without quotes.
_plain_call: Final = re.compile(
    rf"(?<!\S)((?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^\s\"]{{1,16384}}+ HTTP/[0-9.]{{1,4}}) ({STATUS})(?![0-9])",
    re.ASCII,
).search
# Address, request and status beside each other, as few programs write them but for a call.
_bare_call: Final = re.compile(
    r"(?<![\w.:/])([0-9a-fA-F.:]{3,45})\]?:?(?: -){0,2} (GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) "
    rf"((?:https?://[^\s\"\\/]{{1,256}}+)?/[^\s\"\\]{{0,16384}}+) {{1,2}}({STATUS})(?![\w.:/-])",
    re.ASCII,
).search
_when_iso: Final = re.compile(
    r"\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d))\]", re.ASCII
).search
_when: Final = re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", re.ASCII).search
_MOST_ADDRESSES: Final = 6  # that are looked at: times of day look like addresses of IPv6
_addresses: Final = re.compile(r"(?<![\w.])[0-9a-fA-F.:]{3,39}(?![\w.])", re.ASCII).finditer
# Without a time the caller stands right before the request: `203.0.113.7:5 - "GET …`.
_LONGEST_BESIDE: Final = 256
_beside: Final = re.compile(r"(?<![\w.:/])([0-9a-fA-F.:]{7,45})(?: -){0,2} \Z", re.ASCII).search
_user: Final = re.compile(r"(?<=\s)(?:-|\S{1,64}) ([^\s\"\[\]]{1,256}) \[?\d\d/[A-Z]", re.ASCII).search
_agent: Final = re.compile(rf'\s(?:(?:\d{{1,19}}|-) )?"({_TEXT})" "({_TEXT})"').match
_pair: Final = re.compile(rf'(?<!\S)([A-Za-z_][\w.\-]{{0,63}}+)=(?:"({_TEXT})"|([^\s"]++))', re.ASCII).finditer
_took: Final = re.compile(
    r'\s++(?:(?:-|\d{1,19})\s++)?"?\(?(?:(\d{1,9}(?:\.\d{1,9})?)\s?(ms|us|µs|s|(?:micro|milli)?seconds)'
    r'|(\d{1,6}\.\d{3}(?:\d{3})?)|(\d{1,6}\.\d{4}))[")]?(?=\s|\Z)',
    re.ASCII,
).match
_WORDS_OF_UNITS: Final = {"microseconds": "us", "milliseconds": "ms", "seconds": "s"}  # as people write them in formats
# As nginx and Apache write what would end the quotes: \\x22, \\".
_escaped: Final = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([!-/:-@\[-`{-~]))", re.ASCII).sub


def find(text: str) -> re.Match[str] | None:
    """Where in a line the request in quotes and its status stand."""
    return _call(text)


def find_plain(text: str) -> re.Match[str] | None:
    """As `find`, for a request without quotes."""
    return _plain_call(text)


def read_bare(text: str) -> dict[str, object] | None:
    """The fields of a line in which the caller's address, the request and its status stand beside each other."""
    call = _bare_call(text)
    caller = address.valid_ip(call[1].partition(":")[0] if "." in call[1] else call[1]) if call is not None else ""
    if call is None or not caller:
        return None
    return with_rest({"remote_addr": caller, "method": call[2], "url": call[3], "status": call[4]}, text, call.end())


def read(text: str, call: re.Match[str]) -> dict[str, object] | None:
    """The fields of an access line of an unknown format, under nginx's names; None without an address, or a time that
    stands somewhere before the request where the address does not.
    """
    if text[call.start() - 1 : call.start()] == "=":  # of pairs: what stands behind the request is no status
        return with_rest({}, text, 0)
    head = text[max(0, call.start() - _LONGEST_HEAD) : call.start()]
    when = _when(head)
    iso = _when_iso(head) if when is None else None
    timed = when is not None or iso is not None
    beside = None if timed else _beside(head[-_LONGEST_BESIDE:])
    caller = _caller(beside[1] if beside is not None else head if timed else "")
    if not caller:
        return None
    fields: dict[str, object] = {"remote_addr": caller, "request": call[1], "status": call[2]}
    if when is not None:
        fields["time_local"] = when[0]
    elif iso is not None:
        fields["time_iso8601"] = iso[1]
    if (user := _user(head)) is not None and user[1] != "-":
        fields["remote_user"] = user[1]
    end = call.end()
    if (agent := _agent(text, end)) is not None:
        end = agent.end()
        fields["http_user_agent"] = agent[2]
    return with_rest(fields, text, end)


def _caller(head: str) -> str:
    """The first address in a text, "" without one."""
    for number, found in enumerate(_addresses(head)):
        if number >= _MOST_ADDRESSES:
            break
        if valid := address.valid_ip(found[0].partition(":")[0] if "." in found[0] else found[0]):
            return valid
    return ""


def with_rest(fields: dict[str, object], text: str, end: int) -> dict[str, object]:
    """The fields, and what stands behind them in the line."""
    if "\\" in text and isinstance(request := fields.get("request"), str):
        fields["request"] = _escaped(lambda found: f"%{found[1] or f'{ord(found[2]):02X}'}", request)
    if end >= len(text) - 1:
        return fields
    if "=" in text[end:]:
        for number, found in enumerate(_pair(text, end)):
            if number >= _MOST_PAIRS:
                break
            value = found[2] or found[3]
            if value and value != "-":
                fields.setdefault(found[1], value)
    if "request_time" not in fields and (took := _took(text, end)) is not None:
        if took[1]:
            fields.setdefault("took", took[1] + _WORDS_OF_UNITS.get(took[2], took[2]))
        elif took[4]:  # Rack's seconds
            fields["request_time"] = took[4]
        elif text[end - 1] == '"' and text[end + 1 : took.end()].count(" ") == 0:  # elsewhere it may be milliseconds
            fields["request_time"] = took[3]
    return fields
