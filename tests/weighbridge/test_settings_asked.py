"""Commands that ask read their part of the settings alone: the same values, and the same words for a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from exporter.clickhouse.settings import Settings as StoreSettings
from mapping.sampling.settings import SamplingSettings
from weighbridge.settings import ExporterSettings, Settings, load_settings
from weighbridge.settings_asked import EXPORTER, SAMPLE_UNITS, SECTIONS, AskedSettings
from weighbridge.settings_file import SettingsError

STORE = "{name: s, type: clickhouse, dsn: 'http://u:${PASSWORD}@store:8123/db'"


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "weighbridge.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "admin: {endpoint: '127.0.0.1:1'}",
        "admin: {}\nexporter: {}\nsampling: {}",
        "sampling: {sample_unit: company}",
        "exporter: {batch: {span_wait_s: 2m}}",
        f"exporter: {{sinks: [{STORE}, timeout_s: 2m}}]}}",
        f"exporter: {{sinks: [{{name: n, type: blackhole}}, {STORE}, engine: {{reader_max_memory_bytes: 1GB}}}}]}}",
        "exporter: {sinks: [{name: n, type: blackhole}]}",
    ],
)
def test_a_part_of_the_settings_is_as_in_all_of_them(tmp_path: Path, text: str) -> None:
    path, environment = written(tmp_path, text), {"PASSWORD": "p_w"}
    asked, whole = AskedSettings(path, environment), load_settings(path, environment)
    assert asked.admin == whole.admin
    assert asked.exporter.batch == whole.exporter.batch
    assert asked.sampling.sample_unit == whole.sampling.sample_unit

    def stores(settings: AskedSettings | Settings) -> list[object]:
        return [sink for sink in settings.exporter.sinks if isinstance(sink, StoreSettings)]

    assert stores(asked) == stores(whole)


def read(path: str) -> None:
    asked = AskedSettings(path, {})
    _ = asked.admin, asked.exporter, asked.sampling


@pytest.mark.parametrize(
    "text",
    [
        "receivers: {}",
        "exporter:",
        "admin: {endpoint: here}",
        "admin: 5",
        "sampling: {sample_unit: country}",
        "sampling: [1]",
        "exporter: {sink: []}",
        "exporter: {sinks: {name: a}}",
        "exporter: {sinks: []}",
        "exporter: {batch: {span_wait_s: 2 apples}}",
        "exporter: {sinks: [{name: a, type: clickhouse}]}",
        "exporter: {sinks: [{name: a, type: clickhouse, dsn: 'chdb://${NOWHERE}'}]}",
        "exporter: {sinks: [{name: a, type: clickhouse, dsn: 'chdb://x', compresion: x}]}",
        "a: b: c",
    ],
)
def test_a_mistake_is_named_as_everywhere(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as whole:
        load_settings(path, {})
    with pytest.raises(SettingsError) as part:
        read(path)
    assert str(part.value) == str(whole.value)


def test_a_mistake_elsewhere_does_not_keep_anyone_from_asking(tmp_path: Path) -> None:
    asked = AskedSettings(written(tmp_path, "receiver: {max_body_byte: 3}\nmapping: {presets: {kong: '${UNSET}'}}"), {})
    assert [sink.name for sink in asked.exporter.sinks] == ["store"]


def test_it_knows_the_names_of_the_settings() -> None:
    assert set(Settings.model_fields) == SECTIONS
    assert set(ExporterSettings.model_fields) == EXPORTER
    units = SamplingSettings.model_fields["sample_unit"]
    assert get_args(units.annotation) == SAMPLE_UNITS
    assert units.default == SAMPLE_UNITS[0]
