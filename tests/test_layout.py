"""The architecture, kept by tests: which package and which folder may import which, that no imports go round in a
circle, and that the packages' plain names are ours alone.
"""

from __future__ import annotations

import ast
import importlib.metadata
import tomllib
from collections.abc import Collection, Iterable, Mapping
from functools import cache
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
    "exporter": (
        "exporter",
        "mapping.event",
        "mapping.event_json",
        "mapping.rules.taxonomy",
        "mapping.sampling.counts",
    ),
    "receiver": ("receiver", "mapping.otlp"),
    "weighbridge": ("weighbridge", "receiver", "exporter", "mapping"),
}

# What each folder may import inside its package: folders, and single modules of the package's top level. A folder's
# top-level modules (the assembly of the package) may import everything in it; circles are refused below.
INSIDE = {
    "mapping/rules": {"bounds", "event", "memory"},
    "mapping/dialects": {"rules"},
    "mapping/masks": {"rules", "memory"},
    "mapping/otlp": {"rules", "masks", "bounds"},
    "mapping/sampling": {"event", "event_facts", "quantities"},
    "mapping/logs": {"rules", "dialects", "masks", "otlp", "sampling", "bounds", "context", "event", "memory", "shape"},
    "mapping/spans": {
        "rules",
        "dialects",
        "masks",
        "otlp",
        "sampling",
        "bounds",
        "context",
        "event",
        "memory",
        "shape",
    },
    "receiver/decode": {"errors", "answers"},
    "receiver/spool": set(),
    "exporter/clickhouse": {"duplicates", "errors", "http_address", "http_answer", "settings", "sink", "threads"},
    "exporter/clickhouse/engine": {"durable", "log_format"},
    "exporter/clickhouse/queries": {"clickhouse.durations", "clickhouse.minutes_table", "clickhouse.schema"},
    "exporter/sinks": {
        *{"clickhouse", "durable", "errors", "forward", "http_address", "http_answer", "settings", "sink", "source"},
        *{"threads"},
    },
    "weighbridge/demo": set(),
    "weighbridge/sampling": {"feed", "tasks"},
    "weighbridge/lanes": {
        *{"pseudonym_table"},
        *{"admin", "allocator", "deliveries", "event_loop", "explain", "feed", "left_in_spool", "log_lines"},
        *{"progress"},
        *{"sampling", "set_aside", "settings", "tasks", "unmappable"},
    },
    "weighbridge/admin": {"deliveries", "feed", "partitions", "room", "sampling", "settings", "tasks", "unmappable"},
    "weighbridge/console": {"admin", "commands"},
    "weighbridge/commands": {
        *{"admin", "console", "demo", "event_loop", "log_lines", "partitions", "service", "settings", "surroundings"},
        *{"pseudonym_table", "settings_asked", "settings_file", "unmappable"},
    },
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


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name; a package by its own."""
    found = {}
    for package, root in PACKAGES.items():
        for path in root.rglob("*.py"):
            parts = (package, *path.relative_to(root).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def imports_of_modules() -> dict[str, set[str]]:
    """What every module of ours imports of ours when it is loaded."""
    known = modules()
    return {name: imported_at_load(path.read_text(encoding="utf-8"), known) for name, path in known.items()}


def imported_at_load(source: str, known: Collection[str]) -> set[str]:
    """The modules of ours that are imported when this source is: not inside functions, not for type checks only."""
    names: set[str] = set()

    def look(statements: Iterable[ast.stmt]) -> None:
        for node in statements:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                look(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                look(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
                for handler in getattr(node, "handlers", ()):
                    look(handler.body)

    look(ast.parse(source).body)
    # `from a import b` loads a.b when that is a module; then what it needs of `a` itself is only that it exists.
    mere_parents = {name.rpartition(".")[0] for name in names if name in known}
    return {name for name in names if name in known and name not in mere_parents}


def circles(imports: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Modules that import each other in a circle, each circle once, shortest way first."""
    found: dict[frozenset[str], list[str]] = {}
    for start in sorted(imports):
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop(0)
            for name in sorted(imports.get(way[-1], ())):
                if name == start:
                    found.setdefault(frozenset(way), [*way, start])
                elif name not in seen:
                    seen.add(name)
                    ways.append([*way, name])
    return sorted(found.values(), key=len)


def strays(folder: str, names: Iterable[str], allowed: Collection[str]) -> set[str]:
    """Imports of modules of the folder's own package that neither are in the folder nor allowed to it."""
    package, own = folder.split("/")[0], folder.replace("/", ".")
    within = {name for name in names if name.startswith(f"{package}.") and not f"{name}.".startswith(f"{own}.")}
    return {
        name
        for name in within
        if not any(f"{name}.".startswith(f"{package}.{part}.") for part in allowed)
        and not f"{own}.".startswith(f"{name}.")  # the package above, which is empty
    }


def test_folders_import_only_what_they_may() -> None:
    wrong = {}
    for name, path in modules().items():
        folder = "/".join(name.split(".") if path.name == "__init__.py" else name.split(".")[:-1])
        if "/" in folder:
            assert folder in INSIDE, f"{folder} is new: say in INSIDE what it may import"
            if found := strays(folder, imports_of_modules()[name], INSIDE[folder]):
                wrong[name] = found
    assert wrong == {}


def test_every_permission_is_used() -> None:
    """What a folder no longer imports it need not be allowed to."""
    known = modules()
    used: dict[str, set[str]] = {folder: set() for folder in INSIDE}
    for name, path in known.items():
        folder = "/".join(name.split(".") if path.name == "__init__.py" else name.split(".")[:-1])
        if folder in used:
            loaded = imports_of(path.read_text(encoding="utf-8"))
            used[folder] |= {
                part
                for part in INSIDE[folder]
                if any(f"{n}.".startswith(f"{folder.split('/')[0]}.{part}.") for n in loaded)
            }
    assert {folder: INSIDE[folder] - parts for folder, parts in used.items() if INSIDE[folder] - parts} == {}


def test_no_imports_go_round_in_a_circle() -> None:
    assert circles(imports_of_modules()) == []


def test_a_circle_is_seen() -> None:
    known = modules()
    imports = dict(imports_of_modules())
    assert "mapping.bounds" in imports["mapping.context"]
    imports["mapping.bounds"] = imported_at_load("from mapping import context\n", known)
    assert circles(imports)[0] == ["mapping.bounds", "mapping.context", "mapping.bounds"]
    for source in (
        "def late() -> None:\n    from mapping import context\n",
        "if TYPE_CHECKING:\n    import mapping.context\n",
    ):
        assert imported_at_load(source, known) == set()
    for source in (
        "try:\n    import mapping.context\nexcept ImportError:\n    pass\n",
        "class A:\n    import mapping.context\n",
    ):
        assert imported_at_load(source, known) == {"mapping.context"}


def test_a_stray_import_is_seen() -> None:
    known = modules()
    names = imported_at_load("from mapping.spans import plans\nfrom mapping import bounds, event_json\n", known)
    assert strays("mapping/rules", names, INSIDE["mapping/rules"]) == {"mapping.spans.plans", "mapping.event_json"}


def test_only_the_settings_module_reads_the_environment() -> None:
    readers = {
        f"{package}/{path.relative_to(root)}"
        for package, root in PACKAGES.items()
        for path in root.rglob("*.py")
        if "os.environ" in (text := path.read_text(encoding="utf-8")) or "getenv(" in text
    }
    # The supervisor hands its own environment on to the engine; the demo's services configure the SDK like anybody's.
    readers -= {"exporter/clickhouse/engine/supervisor.py", "exporter/clickhouse/engine/__main__.py"}
    assert {name for name in readers if not name.startswith("weighbridge/demo/")} == {"weighbridge/settings_file.py"}


# What is beside the sentence of a log line: only what somebody filters by.
BESIDE = {"sink", "service", "trace_id"}


def odd_logging(source: str) -> list[str]:
    """What is not the one style of logging: a logger `log`, its calls a literal sentence with its values after it."""
    odd = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Assign(targets=[target], value=ast.Call(func=ast.Attribute(attr="getLogger"), args=[_])):
                if ast.unparse(target) != "log":
                    odd.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if level != "isEnabledFor":
                sentence = node.args[1] if level == "log" else node.args[0]
                fields = [word.value for word in node.keywords if word.arg == "extra"]
                beside = {key.value for one in fields for key in one.keys}  # type: ignore[attr-defined]
                if not isinstance(sentence, ast.Constant) or beside - BESIDE:
                    odd.append(ast.unparse(node))
    return odd


def test_there_is_one_style_of_logging() -> None:
    found = {
        str(path): odd
        for package, root in PACKAGES.items()
        for path in root.rglob("*.py")
        if not path.is_relative_to(root / "demo")  # whose logs are what it sends
        and (odd := odd_logging(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "logger = logging.getLogger(__name__)",
        "log.error(f'no {this}')",
        "log.info('x', extra={'path': path})",
        "log.log(level, text)",
    ],
)
def test_another_style_of_logging_is_seen(source: str) -> None:
    assert odd_logging(source)


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
