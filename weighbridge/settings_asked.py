"""What the commands need of the settings that ask the store and nothing else: read in a moment.

All of the settings load all that the bridge is made of, which takes longer than most answers. So the sections here are
checked by their own modules alone, and only when a command looks at them. Whatever they cannot make sense of is left to
`load_settings`, which says what is wrong; what is wrong in other sections is for `weighbridge check` and the bridge.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from exporter.clickhouse.settings import Settings as StoreSettings
from exporter.settings import BatchSettings, SinkSettings
from weighbridge.admin.settings import AdminSettings
from weighbridge.settings_file import environment_of, files_of, given
from weighbridge.settings_text import TextError, expand
from weighbridge.settings_units import UnitError, with_units

if TYPE_CHECKING:
    from weighbridge.settings import Settings

M = TypeVar("M", bound=BaseModel)

SECTIONS = frozenset({"receiver", "mapping", "sampling", "lanes", "spool", "exporter", "admin", "telemetry"})
EXPORTER = frozenset({"sinks", "batch", "retry", "memory_bytes", "dead_letter_bytes", "unmappable_bytes"})
SAMPLE_UNITS = ("trace", "user", "company", "session")
DEFAULT_STORE = {"name": "store", "type": "clickhouse", "dsn": "chdb://data/store"}


class ExporterAsked(Protocol):
    """The part of the section `exporter` that says where the store is."""

    @property
    def sinks(self) -> tuple[SinkSettings, ...]: ...
    @property
    def batch(self) -> BatchSettings: ...


class SamplingAsked(Protocol):
    """The part of the section `sampling` that questions follow."""

    @property
    def sample_unit(self) -> str: ...


class Asked(Protocol):
    """Settings that say whom to ask: all of them, or `AskedSettings`."""

    @property
    def admin(self) -> AdminSettings: ...
    @property
    def exporter(self) -> ExporterAsked: ...
    @property
    def sampling(self) -> SamplingAsked: ...


class _Exporter(NamedTuple):
    sinks: tuple[SinkSettings, ...]
    batch: BatchSettings


class _Sampling(NamedTuple):
    sample_unit: str


class _Unclear(Exception):
    """These sections alone do not tell."""


class AskedSettings:
    """The settings of a file, section by section. Reading one raises SettingsError, one line for the operator."""

    def __init__(self, path: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        """Raises SettingsError for a file that cannot be read."""
        self._path = path
        self._environment = environment_of(environment)
        self._document = given(files_of(path, self._environment))
        if not self._document.keys() <= SECTIONS:
            self._whole  # noqa: B018 - says which section it does not know

    @cached_property
    def admin(self) -> AdminSettings:
        try:
            return self._checked(AdminSettings, "admin", self._document.get("admin", {}))
        except _Unclear:
            return self._whole.admin

    @cached_property
    def exporter(self) -> ExporterAsked:
        """Of the sinks only the store; all of them where none is one."""
        section = self._document.get("exporter", {})
        try:
            return _Exporter(
                (self._store(section),), self._checked(BatchSettings, "exporter.batch", section.get("batch", {}))
            )
        except _Unclear:
            return self._whole.exporter

    @cached_property
    def sampling(self) -> SamplingAsked:
        section = self._document.get("sampling", {})
        unit = section.get("sample_unit", SAMPLE_UNITS[0]) if isinstance(section, Mapping) else None
        return _Sampling(unit) if unit in SAMPLE_UNITS else self._whole.sampling

    def _store(self, section: Any) -> StoreSettings:
        if not isinstance(section, Mapping) or not section.keys() <= EXPORTER:
            raise _Unclear
        sinks = section.get("sinks", [DEFAULT_STORE])
        for place, sink in enumerate(sinks if isinstance(sinks, list) else []):
            if isinstance(sink, Mapping) and sink.get("type") == "clickhouse":
                return self._checked(StoreSettings, f"exporter.sinks.{place}", sink)
        raise _Unclear

    def _checked(self, model: type[M], path: str, values: Any) -> M:
        """The settings of a section. Raises _Unclear where they are not as they should be."""
        try:
            return model.model_validate(with_units(expand(values, self._environment, path), model, path))
        except (ValidationError, TextError, UnitError) as error:
            raise _Unclear from error

    @cached_property
    def _whole(self) -> Settings:
        from weighbridge.settings import load_settings  # what this module is there to avoid

        return load_settings(self._path, self._environment)
