"""The settings file: YAML with `${env:NAME}`, checked strictly, every error naming the setting.

This module is the only one that reads the environment. Each component owns its settings class; here they are put
together (`Settings`), read (`load_settings`) and shown with secrets hidden (`shown`).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from exporter.settings import BatchSettings, RetrySettings, SinkSettings
from exporter.sinks import module_of, parse_sink
from mapping.presets import KrakendPreset, Presets
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from receiver.settings import ReceiverSettings, parse_endpoint
from receiver.spool.settings import SpoolSettings
from weighbridge.admin.server import AdminSettings
from weighbridge.settings_errors import explain
from weighbridge.telemetry_settings import TelemetrySettings

ENVIRONMENT_VARIABLE = "WEIGHBRIDGE_CONFIG"
DEFAULT_FILE = "weighbridge.yaml"
# In the query of an address, such as ?api_key=...: what must not be shown.
_QUERY_SECRET = re.compile(r"([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]+", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class SettingsError(Exception):
    """One line for the operator: which setting, what is wrong, what would be right. Never holds a secret's value."""


class ExporterSettings(BaseModel):
    """Where events go. Every sink has its own batches, retries and place in the spool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sinks: tuple[SinkSettings, ...] = Field(
        default_factory=lambda: (parse_sink({"name": "store", "type": "clickhouse", "dsn": "chdb://data/store"}),),
        description="One entry per destination: name, type and that type's own settings.",
    )
    batch: BatchSettings = Field(default_factory=BatchSettings, description="When a batch is closed.")
    retry: RetrySettings = Field(default_factory=RetrySettings, description="When a refused batch is sent again.")
    memory_bytes: int = Field(
        48 << 20,
        ge=1 << 20,
        description="Requests kept in memory for sinks that keep up, in bytes; a sink that lags reads the spool.",
    )

    dead_letter_bytes: int = Field(
        256 << 20,
        ge=1 << 16,
        description="Size of deadletter.jsonl; refused events beyond it are counted, and not kept.",
    )

    @model_validator(mode="before")
    @classmethod
    def _sinks_by_type(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("sinks"), list):
            return {**values, "sinks": tuple(_parse_sink(index, sink) for index, sink in enumerate(values["sinks"]))}
        return values

    @model_validator(mode="after")
    def _names_are_distinct(self) -> ExporterSettings:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) != len(names):
            raise ValueError(f"two sinks have the same name; names given: {', '.join(names)}")
        if not names:
            raise ValueError("at least one sink is needed; leave `sinks` out for the embedded store")
        return self


class Settings(BaseModel):
    """Everything an operator can set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receiver: ReceiverSettings = Field(default_factory=ReceiverSettings)
    mapping: MappingSettings = Field(default_factory=MappingSettings)
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    exporter: ExporterSettings = Field(default_factory=ExporterSettings)
    admin: AdminSettings = Field(default_factory=AdminSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    @model_validator(mode="before")
    @classmethod
    def _gateway_delivery(cls, values: Any) -> Any:
        exporter = values.get("exporter") if isinstance(values, Mapping) else None
        mapping = values.get("mapping") if isinstance(values, Mapping) else None
        if not isinstance(exporter, Mapping) or not isinstance(exporter.get("sinks"), list):
            return values
        try:
            presets = Presets.model_validate(mapping.get("presets") if isinstance(mapping, Mapping) else None)
        except ValidationError:
            return values  # reported where the presets stand
        sinks = [_with_gateway(sink, presets, exporter.get("batch")) for sink in exporter["sinks"]]
        return {**values, "exporter": {**exporter, "sinks": sinks}}

    @model_validator(mode="after")
    def _does_not_watch_itself(self) -> Settings:
        if self.telemetry.otlp_endpoint and is_itself(self.telemetry.otlp_endpoint, self.receiver.endpoint):
            raise ValueError(
                "telemetry.otlp_endpoint is this bridge: what it says about itself would make it say more. "
                "Name a Collector or another bridge"
            )
        return self


def _with_gateway(sink: Any, presets: Presets, batch: Any) -> Any:
    """A moesif sink with what a pasted gateway block says about its delivery; what the sink says itself wins.

    batch: the batches of all sinks, as written.
    """
    gateway = presets.krakend or presets.kong
    if gateway is None or not isinstance(sink, Mapping) or sink.get("type") != "moesif":
        return sink
    found: dict[str, Any] = {}
    if application_id := gateway.application_id.get_secret_value():
        found["application_id"] = application_id
    if isinstance(gateway, KrakendPreset):
        found["max_request_events"] = gateway.batch_size
        found["batch"] = {"max_age_s": gateway.timer_wake_up_seconds, **(batch if isinstance(batch, Mapping) else {})}
    return {**found, **sink}


def _parse_sink(index: int, values: Any) -> SinkSettings:
    try:
        return parse_sink(values)
    except ValidationError as error:
        raise ValueError(f".sinks.{index}.{explain(error, module_of(str(values['type'])).Settings)}") from error
    except ValueError as error:
        raise ValueError(f".sinks.{index}: {error}") from error


def is_itself(address: str, listening: str) -> bool:
    """Whether an address is that of the receiver on this machine."""
    try:
        parts = urlsplit(address)
        host, port = parse_endpoint(listening)
        named = parts.hostname or ""
        there = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return False
    here = {host, "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname()}  # noqa: S104 compared, not bound
    return there == port and named in here


def find_file(path: str | None, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file that `load_settings` would read: the one named, else $WEIGHBRIDGE_CONFIG, else ./weighbridge.yaml."""
    environment = os.environ if environment is None else environment
    named = path or environment.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def load_settings(path: str | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The effective settings. Raises SettingsError, whose text is one line."""
    environment = os.environ if environment is None else environment
    file = find_file(path, environment)
    if file is None:
        return Settings()
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise SettingsError(
            f"{file}: not YAML{place}: {getattr(error, 'problem', None) or 'unreadable text'}"
        ) from error
    if document is None:
        return Settings()
    if not isinstance(document, dict):
        raise SettingsError(f"{file}: expected sections such as `receiver:` at the top level")
    try:
        return Settings.model_validate(_expand(document, environment, ""))
    except ValidationError as error:
        raise SettingsError(f"{file}: {explain(error, Settings)}") from error
    except SettingsError as error:
        raise SettingsError(f"{file}: {error}") from error


def shown(settings: BaseModel) -> dict[str, Any]:
    """The settings as plain data for printing: secrets and passwords inside addresses are hidden."""
    return _hidden(settings)  # type: ignore[no-any-return]


def _hidden(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _hidden(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return "**********" if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return {str(key): _hidden(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hidden(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "://" in value:
        if password := _password(value):
            value = value.replace(f":{password}@", ":**********@", 1)
        return _QUERY_SECRET.sub(r"\1**********", value)
    return value


def _password(address: str) -> str | None:
    try:
        return urlsplit(address).password
    except ValueError:
        return None


def _expand(value: Any, environment: Mapping[str, str], path: str) -> Any:
    """`${env:NAME}` and `${env:NAME:-default}` in every text, after YAML is read: a value cannot add settings."""
    if isinstance(value, dict):
        return {key: _expand(item, environment, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environment, f"{path}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = environment.get(name, default)
        if found is None:
            raise SettingsError(
                f"{path}: the environment variable {name} is not set (give a default: ${{env:{name}:-…}})"
            )
        return found

    return _REFERENCE.sub(one, value)
