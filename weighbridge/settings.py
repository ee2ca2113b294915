"""The settings file: YAML with `${env:NAME}`, checked strictly, every error naming the setting.

Each component owns its settings class; here they are put together (`Settings`), read (`load_settings`) and shown with
secrets hidden (`shown`). `settings_asked` has a shorter way for questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from exporter.http_address import HIDDEN, without_secrets
from exporter.settings import BatchSettings, RetrySettings, SinkSettings
from exporter.sinks import module_of, parse_sink
from mapping.presets import KongPreset, Presets
from mapping.sampling.settings import BudgetSettings, MoesifRemoteSettings, SamplingSettings, TailSettings
from mapping.settings import MappingSettings
from receiver.settings import ReceiverSettings
from receiver.spool.settings import SpoolSettings
from weighbridge.addresses import is_itself as is_itself
from weighbridge.admin.settings import AdminSettings
from weighbridge.lanes.crossing import refuse_crossing
from weighbridge.lanes.settings import LanesSettings
from weighbridge.settings_asked import DEFAULT_STORE
from weighbridge.settings_conflicts import refuse_conflicts
from weighbridge.settings_errors import explain
from weighbridge.settings_file import DEFAULT_FILE as DEFAULT_FILE
from weighbridge.settings_file import SettingsError as SettingsError
from weighbridge.settings_file import environment_of, files_of, given
from weighbridge.settings_file import find_file as find_file
from weighbridge.settings_text import TextError, expand
from weighbridge.settings_units import UnitError, with_units
from weighbridge.telemetry_settings import TelemetrySettings

_NO_SECRETS = frozenset({"database"})  # in the query of an address


class ExporterSettings(BaseModel):
    """Where events go. Every sink has its own batches, retries and place in the spool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sinks: tuple[SinkSettings, ...] = Field(
        default_factory=lambda: (parse_sink(DEFAULT_STORE),),
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
    unmappable_bytes: int = Field(
        256 << 20,
        ge=0,
        description="Size of the folder of requests that cannot be mapped; those beyond it are counted, and not kept.",
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
    lanes: LanesSettings = Field(default_factory=LanesSettings)
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
    def _can_be_meant(self) -> Settings:
        refuse_conflicts(self)
        refuse_crossing(self)
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
    if isinstance(gateway, KongPreset):
        of_kong = {
            "base_url": gateway.api_endpoint,
            "max_request_events": gateway.batch_size,
            "gzip": gateway.compresses,
        }
        found |= {name: value for name, value in of_kong.items() if value is not None}
    else:
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


def load_settings(path: str | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """The effective settings. Raises SettingsError, whose text is one line."""
    environment = environment_of(environment)
    files = files_of(path, environment)
    document = given(files)
    if not document:
        return Settings()
    try:
        return Settings.model_validate(with_units(expand(document, environment), Settings))
    except ValidationError as error:
        raise SettingsError(f"{files[-1]}: {explain(error, Settings)}") from error
    except (TextError, UnitError) as error:
        raise SettingsError(f"{files[-1]}: {error}") from error


def expand_one(text: str, what: str) -> str:
    """A value of a command line as one of the settings file: its references are replaced. Raises SettingsError."""
    try:
        return str(expand(text, environment_of(None), what))
    except TextError as error:
        raise SettingsError(str(error)) from error


def old_spellings(path: str | None = None, environment: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each setting that the files name by an old name, which is read all the same.

    For files that `load_settings` has read. Raises SettingsError when one cannot be read any more.
    """
    document = given(files_of(path, environment_of(environment)))
    sampling = document.get("sampling")
    if not isinstance(sampling, dict):
        return []
    return [
        f"sampling.{part}.{old} is called {new} now, and may be renamed in the settings file"
        for part, model in (("budget", BudgetSettings), ("tail", TailSettings), ("moesif_remote", MoesifRemoteSettings))
        for old, new in model.RENAMED.items()
        if isinstance(sampling.get(part), dict) and old in sampling[part]
    ]


def shown(settings: BaseModel) -> dict[str, Any]:
    """The settings as plain data for printing: secrets and passwords inside addresses are hidden."""
    return _hidden(settings)  # type: ignore[no-any-return]


def _hidden(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _hidden(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if isinstance(value, Mapping):
        return {str(key): _hidden(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_hidden(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return without_secrets(value, keep_query=_NO_SECRETS) if isinstance(value, str) else value
