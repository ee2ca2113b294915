"""What settings cannot mean together, found without touching a network: refused when they are read.

Two ways to one place (every event twice), the bridge as its own sender, directories inside one another, and words that
stand where an id or a key belongs. Raised as ValueError; the text names the settings and says what to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import re2  # type: ignore[import-untyped]
from pydantic import SecretStr

from exporter.settings import SinkSettings
from weighbridge.addresses import is_itself, overlap, place_of_url
from weighbridge.routing import refuse_routes

if TYPE_CHECKING:
    from weighbridge.settings import Settings

_HTTP_PORTS = {"http": 80, "https": 443}
_CLICKHOUSE_PORTS = {"http": 8123, "https": 8123}  # 8443 is the same server's other door
_EVENT_TYPES = ("", "log", "action")
# What examples and defaults write where a secret belongs. Whoever reads the settings knows these words anyway.
_STAND_IN = re2.compile(
    r"(?i)|none|null|nil|undefined|todo|x{3,}|\.{3}|…|-+|change[-_ ]?(?:me|it)|(?:insert|replace)[-_ ].*|sign in .*|"
    r"your[-_ ]?(?:[\w-]+[-_ ])?(?:moesif|collector|application|app|api|secret)?[-_ \w]*(?:id|key|token)|<.*>|\[.*\]|"
    # What templates write (Helm, Jinja, Ansible, Ruby, Windows, Maven) when nobody filled them in.
    r"\{\{.*\}\}|\{%.*%\}|#\{.*\}|%\(\w+\)s|%\w+%|@[\w.]+@|__\w+__",
)
_SCHEME_ALONE = re.compile(r"\s*(?:bearer|basic|token|apikey|api-key)?\s*", re.IGNORECASE)


def refuse_conflicts(settings: Settings) -> None:
    """Raises ValueError for the first of them."""
    _one_port(settings)
    _not_itself(settings)
    _one_way_to_each_place(settings.exporter.sinks)
    refuse_routes(settings.exporter.sinks)
    _directories_apart(settings)
    _no_stand_ins(settings)


def _one_port(settings: Settings) -> None:
    receiver, admin = settings.receiver.endpoint, settings.admin.endpoint
    if overlap(receiver, admin):
        raise ValueError(f"receiver.endpoint {receiver} and admin.endpoint {admin} are one port: give each its own")


def _not_itself(settings: Settings) -> None:
    listening = settings.receiver.endpoint
    if settings.telemetry.otlp_endpoint and is_itself(settings.telemetry.otlp_endpoint, listening):
        raise ValueError(
            "telemetry.otlp_endpoint is this bridge: what it says about itself would make it say more. "
            "Name a Collector or another bridge"
        )
    for index, sink in enumerate(settings.exporter.sinks):
        address = getattr(sink, "endpoint", "") or getattr(sink, "base_url", "")
        if address and is_itself(address, listening):
            setting = "endpoint" if hasattr(sink, "endpoint") else "base_url"
            raise ValueError(
                f"exporter.sinks.{index}.{setting} is this bridge (receiver.endpoint {listening}): every request would "
                "come back and be sent again. Name a Collector or another bridge"
            )


def _one_way_to_each_place(sinks: tuple[SinkSettings, ...]) -> None:
    seen: dict[Hashable, str] = {}
    for sink in sinks:
        for place in _places(sink):
            if seen.setdefault(place, sink.name) != sink.name:
                raise ValueError(
                    f"exporter.sinks: {seen[place]} and {sink.name} write to one place ({_PLACES[sink.type]}): every "
                    "event would be there twice. Keep one of them"
                )


_PLACES = {
    "clickhouse": "the table of their dsn",
    "jsonlines": "the file of their path",
    "kafka": "a topic of their brokers",
    "moesif": "the application of their application_id",
    "otlphttp": "the endpoint, for the same signals",
}


def _places(sink: Any) -> Iterator[Hashable]:
    """Where events of a sink go, each in one spelling; nothing for kinds that keep nothing."""
    match sink.type:
        case "clickhouse":
            if sink.engine_path is not None:
                yield "folder", real(sink.engine_path)  # one engine has it, whatever the database
            else:
                place = place_of_url(sink.dsn, _CLICKHOUSE_PORTS)
                if place is not None:
                    yield "server", place.host, 8123 if place.port == 8443 else place.port, sink.database
        case "jsonlines":
            yield "file", "-" if sink.path in ("-", "/dev/stdout") else real(sink.path)
        case "kafka":
            for broker in sink.brokers:
                for event_type in _EVENT_TYPES:
                    yield (
                        "topic",
                        place_of_url(f"kafka://{broker}", {"kafka": 9092}),
                        event_type,
                        sink.topic_of(event_type),
                    )
        case "moesif":
            yield *_address(sink.base_url), sink.application_id.get_secret_value()
        case "otlphttp":
            for signal in sink.signals:
                yield *_address(sink.endpoint), signal


def _address(text: str) -> tuple[Hashable, ...]:
    return place_of_url(text, _HTTP_PORTS), urlsplit(text).path.rstrip("/")


def real(path: str | Path) -> str:
    """The path that the system would use: absolute, without links."""
    return os.path.realpath(path)


def _directories_apart(settings: Settings) -> None:
    named = [("spool.directory", real(settings.spool.directory))]
    files = []
    for index, sink in enumerate(settings.exporter.sinks):
        if (folder := sink.engine_path) is not None:
            named.append((f"exporter.sinks.{index}.dsn", real(folder)))
        elif sink.type == "jsonlines" and (path := getattr(sink, "path", "-")) != "-":
            files.append((f"exporter.sinks.{index}.path", real(path)))
    pairs = [*combinations(named, 2), *((one, file) for one in named for file in files)]
    for (one, first), (other, second) in pairs:
        if first == second:
            raise ValueError(f"{one} and {other} are one directory, {first}: give each its own")
        for inner, outer in (((one, first), (other, second)), ((other, second), (one, first))):
            if inner[1].startswith(outer[1].rstrip("/") + "/"):
                raise ValueError(
                    f"{inner[0]} ({inner[1]}) lies inside {outer[0]} ({outer[1]}), which keeps and deletes files of "
                    "its own there: put them side by side"
                )


def _no_stand_ins(settings: Settings) -> None:
    for path, secret in _secrets(settings):
        value = secret.get_secret_value()
        if _STAND_IN.fullmatch(value.strip()):
            shown = f"`{value}` stands" if value.strip() else "nothing stands"
            raise ValueError(f"{path}: {shown} where an id or a key belongs; set it, or leave the part out")
    for path, headers in _header_settings(settings):
        for name, header in headers.items():
            if _SCHEME_ALONE.fullmatch(header.get_secret_value()) or _STAND_IN.fullmatch(header.get_secret_value()):
                raise ValueError(f"{path}.{name}: the header has no value; set it, or leave it out")


def _secrets(settings: Settings) -> Iterator[tuple[str, SecretStr]]:
    for index, sink in enumerate(settings.exporter.sinks):
        if isinstance(found := getattr(sink, "application_id", None), SecretStr):
            yield f"exporter.sinks.{index}.application_id", found
    for name, tenant in settings.receiver.tenants.items():
        for index, key in enumerate(tenant.keys):
            yield f"receiver.tenants.{name}.keys.{index}", key
    optional = (
        ("mapping.masks.hash_key", settings.mapping.masks.hash_key),
        ("sampling.moesif_remote.application_id", getattr(settings.sampling.moesif_remote, "application_id", None)),
    )
    yield from ((path, secret) for path, secret in optional if secret is not None and secret.get_secret_value())


def _header_settings(settings: Settings) -> Iterator[tuple[str, dict[str, SecretStr]]]:
    yield "telemetry.headers", settings.telemetry.headers
    for index, sink in enumerate(settings.exporter.sinks):
        headers = getattr(sink, "headers", None)
        if isinstance(headers, dict):
            yield f"exporter.sinks.{index}.headers", headers
