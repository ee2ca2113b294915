"""What the image would hold: every package under a licence that may be in it, and the bill says the same."""

from __future__ import annotations

import importlib.metadata
import re

import pytest

from deploy.packages import ACCEPTED, ENGINE, EXTRAS, accepted, installed, licence
from deploy.sbom import shipped
from project_files import ROOT


def test_every_package_is_under_an_accepted_licence() -> None:
    """A new one that is not: look at its licence; then name it in ACCEPTED or its wording in _WORDS, or do without."""
    packages = installed()
    assert len(packages) > 40
    said = {name: licence(distribution) for name, distribution in packages.items()}
    # Their metadata says it in a classifier that other tools read too; nothing is without a word.
    assert {name: text for name, text in said.items() if not accepted(text)} == {}


@pytest.mark.parametrize(
    ("expression", "may"),
    [
        ("MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("(GPL-2.0-only OR LGPL-3.0-only) AND MIT", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("", False),
    ],
)
def test_an_expression_is_accepted_when_all_that_it_asks_for_is(expression: str, may: bool) -> None:
    assert accepted(expression) is may


def test_what_is_checked_is_what_the_image_installs() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"'.[{','.join(EXTRAS)}]'" in dockerfile
    assert f"--no-deps {ENGINE}\n" in dockerfile
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower(): line.split("==")[1]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    here = {name: distribution.version for name, distribution in installed().items()}
    assert {name: (version, pinned.get(name)) for name, version in here.items() if pinned.get(name) != version} == {}


def test_the_bill_has_what_is_shipped_and_nothing_that_only_tests_need() -> None:
    everything = [
        {"bom-ref": distribution.metadata["Name"], "name": distribution.metadata["Name"]}
        for distribution in importlib.metadata.distributions()
        if distribution.metadata["Name"] != "weighbridge"
    ]
    bom = {
        "metadata": {"component": {"name": "weighbridge", "bom-ref": "root"}},
        "components": everything,
        "dependencies": [
            {"ref": "root", "dependsOn": ["aiohttp", "pytest"]},
            {"ref": "pytest", "dependsOn": ["pluggy"]},
            {"ref": "aiohttp"},
        ],
    }
    found = shipped(bom)
    names = {one["name"] for one in found["components"]}
    assert {"aiohttp", "chdb-core", "confluent-kafka"} <= names
    assert names & {"pytest", "mypy", "ruff", "hatchling"} == set()
    assert found["dependencies"] == [{"ref": "root", "dependsOn": ["aiohttp"]}, {"ref": "aiohttp", "dependsOn": []}]
    with pytest.raises(ValueError, match="aiohttp"):
        shipped({**bom, "components": [one for one in everything if one["name"] != "aiohttp"]})


def test_every_accepted_licence_is_an_spdx_name() -> None:
    assert [name for name in ACCEPTED if not re.fullmatch(r"[A-Za-z0-9.-]+", name)] == []
