"""config/weighbridge.yaml: every setting with its default, unit and effect, written from the settings classes.

    python -m weighbridge.settings_reference > config/weighbridge.yaml

A test holds the file equal to what this prints, so defaults and their explanations live in the classes alone.
"""

from __future__ import annotations

import re
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from exporter.settings import SinkSettings
from exporter.sinks import module_of, types
from weighbridge.settings import Settings, shown

WIDTH = 118

HEAD = """\
# Every setting of weighbridge, with its default. Nothing here has to be set: `weighbridge serve` without a file uses
# exactly these values. A key that nobody knows, or that stands twice, is an error.
# A value may hold ${env:NAME} or ${env:NAME:-default}, also written ${NAME} and ${NAME:-default}; $$ is a dollar sign.
# A setting whose name ends in _s, _ms, _days or _bytes takes a plain number, or a text with its unit: 30s, 5m, 1h30m,
# 7d, 64MiB (power of 1024), 10GB (of 1000).
# `weighbridge check --config F` validates a file and prints what is in force.
"""

# For sections whose class says nothing of its own.
SECTIONS = {"receiver": "Where telemetry comes in.", "admin": "The operator's port."}


def reference() -> str:
    """The whole file."""
    lines: list[str] = []
    defaults = Settings()
    for name, field in Settings.model_fields.items():
        section = getattr(defaults, name)
        lines += [
            "",
            *_comment(field.description or _summary(type(section)) or SECTIONS[name], 0),
            f"{name}:",
            *_fields(section, 2),
        ]
    return HEAD + "\n".join(lines) + "\n"


def _fields(model: BaseModel, indent: int) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        yield from _comment(_describe(field), indent)
        if isinstance(value, BaseModel):
            yield f"{' ' * indent}{name}:"
            yield from _fields(value, indent + 2)
        elif _is_sinks(field):
            yield f"{' ' * indent}{name}:"
            yield from _sinks(value, indent + 2)
        else:
            yield from _entry(model, name, indent)
            yield from _shape(field, indent)


def _sinks(sinks: tuple[SinkSettings, ...], indent: int) -> Iterator[str]:
    """The default sinks with all their settings, then the settings of the other types as comments."""
    for sink in sinks:
        first, *rest = (line for line in _fields(sink, indent + 2) if not line.lstrip().startswith("# Names the sink"))
        yield f"{' ' * indent}- {first.lstrip()}"
        yield from rest
    for kind in types():
        if kind not in {sink.type for sink in sinks}:
            settings = module_of(kind).Settings
            yield from _comment(f"Of type {kind}. {_summary(settings)}", indent)
            yield from _keys(settings, indent)


def _entry(model: BaseModel, name: str, indent: int) -> Iterator[str]:
    value = shown(model)[name]
    if value is None:
        yield f"{' ' * indent}# {name}: not set"
        return
    first, *rest = textwrap.wrap(
        f"{name}: {_flow(value)}", WIDTH - indent - 2, break_long_words=False, break_on_hyphens=False
    )
    yield " " * indent + first
    for line in rest:  # of a list or mapping in braces, which YAML lets run on
        yield " " * (indent + 2) + line


def _shape(field: FieldInfo, indent: int) -> Iterator[str]:
    """For a setting that may hold models (a list of rules, an optional part): the keys of one, as comments."""
    for model in _models(field.annotation):
        yield from _comment(f"Its keys. {_summary(model)}".rstrip(), indent)
        yield from _keys(model, indent)


def _keys(model: type[BaseModel], indent: int, depth: int = 1) -> Iterator[str]:
    for name, field in model.model_fields.items():
        start = f"{'  ' * depth}{name} ({_default_of(field)})"
        told = _describe(field)
        yield from _comment(f"{start}: {told}" if told else start, indent)
        for inner in _models(field.annotation):
            yield from _keys(inner, indent, depth + 1)


def _describe(field: FieldInfo) -> str:
    """What the setting does, and the words it allows as far as that does not name them already."""
    told, words = field.description or "", list(dict.fromkeys(_words(field.annotation)))
    if len(words) < 2 or all(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", told) for word in words):
        return told
    several = typing.get_origin(field.annotation) in (tuple, list)
    told += "" if told.endswith((".", "?")) or not told else "."
    return f"{told} {'Any' if several else 'One'} of: {', '.join(words)}.".strip()


def _words(annotation: Any) -> Iterator[str]:
    if typing.get_origin(annotation) is typing.Literal:
        yield from map(str, typing.get_args(annotation))
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        for part in typing.get_args(annotation):
            yield from _words(part)


def _default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, BaseModel):
        return "a part of its own"
    return f"default {_flow(_plain(default))}"


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list | frozenset | set):
        return [_plain(item) for item in value]
    if isinstance(value, SecretStr | Path):
        return str(value)
    return value


def _is_sinks(field: FieldInfo) -> bool:
    return SinkSettings in set(_models(field.annotation))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _comment(text: str, indent: int) -> Iterator[str]:
    lead = " " * (len(text) - len(text.lstrip()))
    lines = textwrap.wrap(text.strip(), WIDTH - indent - 2 - len(lead), break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield f"{' ' * indent}# {lead}{'  ' if number and lead else ''}{line}"


if __name__ == "__main__":
    print(reference(), end="")
