"""A request to the engine, read: which statement, for which database, with which parameters and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple

from exporter.clickhouse.engine.lanes import EngineError, quote

SYNTAX_ERROR = 62
# Of ClickHouse's native protocol: the last whose blocks are what the engine writes, but for the head. A client that
# names this one or an older one is the Python client, which finds out that there are no heads.
REVISION = 54_453

# Parameters that the client sends about the transport; the engine would refuse them as unknown settings.
_TRANSPORT = frozenset(
    {
        "query", "database", "user", "password", "query_id", "session_id", "session_timeout", "session_check",
        "quota_key", "role", "compress", "decompress", "buffer_size", "wait_end_of_query", "default_format",
        "client_protocol_version", "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "enable_http_compression", "cancel_http_readonly_queries_on_client_close", "add_http_cors_header",
    }
)  # fmt: skip
_NUMBER = re.compile(r"[0-9]{1,9}")
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = rb"`(?:[^`\\]++|\\.)*+`|\"(?:[^\"\\]++|\\.)*+\"|'(?:[^'\\]++|\\.)*+'"
# INSERT INTO table (columns) [SETTINGS ..] FORMAT Name <data>; one with VALUES or SELECT is an ordinary statement.
_INSERT = re.compile(
    rb"\s*+(INSERT\s++INTO\s++(?:"
    + _QUOTED
    + rb"|(?!\b(?:FORMAT|VALUES|SELECT|WITH)\b)[^`\"'])++)\bFORMAT\s++(\w++)[ \t]*+\r?\n?",
    re.IGNORECASE,
)
_HEAD_BYTES = 65_536  # an INSERT's head is found within this


class Request(NamedTuple):
    """One statement as sent: its text, or an INSERT's head with its data still attached to `text`."""

    text: bytes
    database: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    form: str = ""  # of the answer where the statement names none
    compressed: bool = False  # whether the client reads ClickHouse's own compression, of which there is none here
    heads: bool = False  # whether the client reads a head in front of each block of the format Native

    @property
    def insert(self) -> tuple[str, str, bytes] | None:
        """Statement, format and data of an INSERT that carries its data, None of any other statement."""
        head = _INSERT.match(self.text[:_HEAD_BYTES])
        if head is None:
            return None
        statement = head[1].decode().rstrip() + _settings_clause(self.settings)
        return statement, head[2].decode(), self.text[head.end() :]


def read_request(query: Mapping[str, str], body: bytes, headers: Message) -> Request:
    """The statement in URL and body. Raises EngineError for a setting that is not a name, and for form uploads."""
    if headers.get("Content-Type", "").startswith("multipart/"):
        raise EngineError(48, "Code: 48. Form uploads and external data are not supported by the embedded engine")
    text = query.get("query", "").encode()
    text = text + b"\n" + body if text and body else text or body
    if not text.strip():
        raise EngineError(SYNTAX_ERROR, f"Code: {SYNTAX_ERROR}. Empty query")
    parameters: dict[str, str] = {}
    settings: dict[str, str] = {}
    for name, value in query.items():
        if name.startswith("param_"):
            parameters[name.removeprefix("param_")] = value
        elif name not in _TRANSPORT:
            if not _SETTING.fullmatch(name):
                raise EngineError(115, f"Code: 115. Unknown setting {name[:100]!r}")
            settings[name] = value
    form = query.get("default_format") or headers.get("X-ClickHouse-Format") or ""
    if not _SETTING.fullmatch(form or "none"):
        raise EngineError(73, "Code: 73. Unknown format")
    revision = query.get("client_protocol_version", "0")
    database = query.get("database") or headers.get("X-ClickHouse-Database") or ""
    heads = bool(_NUMBER.fullmatch(revision)) and int(revision) > REVISION
    compressed = query.get("compress", "0") not in ("", "0")
    return Request(text, database, parameters, settings, form, compressed, heads)


def _settings_clause(settings: Mapping[str, str]) -> str:
    return " SETTINGS " + ", ".join(f"{name} = {quote(value)}" for name, value in settings.items()) if settings else ""
