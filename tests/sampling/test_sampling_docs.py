"""docs/sampling.md is true: its settings load, its names exist, its picture is the one that the command draws."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime

import pytest
import yaml

from bench.sampling_plot import svg
from mapping.sampling.rules import OPERATORS, PATH_PREFIXES, PATHS, SEVERITIES
from mapping.sampling.settings import SamplingSettings
from project_files import ROOT, project_file
from weighbridge.commands.named_query import named

DOCS = ROOT / "docs"
TEXT = (DOCS / "sampling.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(example: str) -> None:
    document = yaml.safe_load(example)
    assert list(document) == ["sampling"]
    SamplingSettings.model_validate(document["sampling"])


@pytest.mark.parametrize("name", [*PATHS, *OPERATORS, *(s for s in SEVERITIES if s not in ("TRACE", "WARNING"))])
def test_every_path_and_op_is_explained(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("prefix", PATH_PREFIXES)
def test_every_family_of_paths_is_explained(prefix: str) -> None:
    assert f"`{prefix}<" in TEXT


def test_the_picture_is_the_one_that_the_command_draws() -> None:
    assert (DOCS / "sampling.svg").read_text(encoding="utf-8") == svg()


def test_the_query_names_columns_that_exist() -> None:
    schema = project_file("exporter/clickhouse/schema.sql").read_text(encoding="utf-8")
    columns = set(re.findall(r"^\s+(\w+)\s+[A-Z]", schema, re.MULTILINE))
    assert {"trace_id", "sampling_p", "adjusted_count", "weight", "duration_ms"} <= columns


def test_the_queries_shown_have_these_names_and_parameters() -> None:
    shown = re.findall(r"^weighbridge query (\w+)(.*)", TEXT, re.MULTILINE)
    assert {name for name, _ in shown} == {"totals", "percentile"}
    for name, parameters in shown:
        assert named(name, shlex.split(parameters, comments=True), "trace", datetime.now(UTC)).sql
