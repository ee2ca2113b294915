"""The architecture, kept by tests: which package may import which, and that their plain names are ours alone."""

from __future__ import annotations

import ast
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import exporter
import mapping
import receiver
import weighbridge

PACKAGES = {module.__name__: Path(next(iter(module.__path__))) for module in (mapping, exporter, receiver, weighbridge)}

# What each package may know of ours, by module prefix.
ALLOWED = {
    "mapping": ("mapping",),
    "exporter": ("exporter", "mapping.event", "mapping.event_json", "mapping.rules.taxonomy"),
    "receiver": ("receiver", "mapping.otlp"),
    "weighbridge": ("weighbridge", "receiver", "exporter", "mapping"),
}


def imports_of(source: str) -> set[str]:
    """Every module that a source file imports, dotted, as far as the text tells."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden(package: str, source: str) -> set[str]:
    """Imports of our own packages that `package` may not have."""
    ours = {name for name in imports_of(source) if name.split(".")[0] in ALLOWED}
    allowed = ALLOWED[package]
    return {
        name
        for name in ours
        if not any(
            name == prefix or name.startswith(prefix + ".") or prefix.startswith(name + ".") for prefix in allowed
        )
    }


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_point_down_the_data_path(package: str) -> None:
    turned_upward = {
        str(path.relative_to(PACKAGES[package])): wrong
        for path in sorted(PACKAGES[package].rglob("*.py"))
        if (wrong := forbidden(package, path.read_text(encoding="utf-8")))
    }
    assert turned_upward == {}


def test_an_upward_import_is_seen() -> None:
    assert forbidden("mapping", "from exporter.sink import Sink") == {"exporter.sink", "exporter.sink.Sink"}
    assert forbidden("exporter", "import mapping.event") == set()
    assert forbidden("exporter", "from mapping import spans") == {"mapping.spans"}


def test_only_the_settings_module_reads_the_environment() -> None:
    readers = {
        f"{package}/{path.relative_to(root)}"
        for package, root in PACKAGES.items()
        for path in root.rglob("*.py")
        if "os.environ" in (text := path.read_text(encoding="utf-8")) or "getenv(" in text
    }
    # The supervisor hands its own environment on to the engine; the demo's services configure the SDK like anybody's.
    readers -= {"exporter/clickhouse/engine/supervisor.py"}
    assert {name for name in readers if not name.startswith("weighbridge/demo/")} == {"weighbridge/settings.py"}


def test_no_other_distribution_installs_our_import_names() -> None:
    """`receiver`, `mapping`, `exporter` are plain names: two wheels with one of them overwrite each other silently."""
    owners: dict[str, set[str]] = {name: set() for name in PACKAGES}
    for distribution in importlib.metadata.distributions():
        for file in distribution.files or ():
            top = file.parts[0]
            if top in owners:
                owners[top].add(distribution.metadata["Name"])
    strangers = {name: found - {"weighbridge"} for name, found in owners.items() if found - {"weighbridge"}}
    assert strangers == {}


def test_every_package_on_disk_is_in_the_wheel() -> None:
    project = Path(__file__).parent.parent / "pyproject.toml"
    built = tomllib.loads(project.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(built) == sorted(PACKAGES)
