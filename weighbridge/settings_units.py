"""Units in a settings file: a setting whose name ends in its unit takes a text with any unit of that kind.

    timeout_s: 30, timeout_s: 30s, timeout_s: 2m          seconds
    max_bytes: 1073741824, max_bytes: 1GiB, 10GB          bytes
    retention_days: 90, retention_days: 12w               days

Plain numbers mean what the name says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from exporter.settings import SinkSettings
from exporter.sinks import module_of
from mapping.quantities import has_unit, seconds, size_bytes

DAY_S = 86_400.0


class UnitError(ValueError):
    """A quantity that cannot be read, with the dotted path of its setting."""


def _rate(text: str) -> int:
    return size_bytes(text.strip().removesuffix("/s").removesuffix("ps"))


_READERS: dict[str, Callable[[str], float]] = {
    "_bytes_per_s": _rate,
    "_per_s": float,  # so many a second: a number, and no length of time
    "_bytes": size_bytes,
    "_bytes_per_peer": size_bytes,
    "_ms": lambda text: seconds(text) * 1000,
    "_s": seconds,
    "_days": lambda text: seconds(text) / DAY_S,
}


SUFFIXES = tuple(_READERS)  # of the names of settings that take a unit


def with_units(values: Any, model: type[BaseModel], path: str = "") -> Any:
    """The values of a model's settings with plain numbers for quantities. Raises UnitError.

    What does not fit the model is left as it is, for the model to refuse.
    """
    if not isinstance(values, Mapping):
        return values
    found = dict(values)
    for name, value in values.items():
        field = model.model_fields.get(str(name))
        if field is not None:
            found[name] = _value(value, str(name), field.annotation, f"{path}.{name}" if path else str(name))
    return found


def _value(value: Any, name: str, annotation: Any, path: str) -> Any:
    if isinstance(value, str | float) and {int, float} & set(_leaves(annotation)):
        return _number(value, name, path)
    model = next((leaf for leaf in _leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)), None)
    if model is None:
        return value
    if isinstance(value, list):
        return [with_units(item, _model_of(model, item), f"{path}.{index}") for index, item in enumerate(value)]
    if get_origin(annotation) is dict and isinstance(value, Mapping):
        return {key: with_units(item, model, f"{path}.{key}") for key, item in value.items()}
    return with_units(value, model, path)


def _number(value: str | float, name: str, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise UnitError(f"{path}: {value} is no number that can be meant here")
    reader = next((reader for suffix, reader in _READERS.items() if name.endswith(suffix)), None)
    if reader is None or not isinstance(value, str) or not has_unit(value) or not value.strip():
        return value
    try:
        number = reader(value)
    except ValueError as error:
        kind = "a whole number" if "_bytes" in name else "a number"
        raise UnitError(f"{path}: expected {kind}, or one with its unit: {error}") from error
    return int(number) if number == int(number) else number


def _model_of(model: type[BaseModel], item: Any) -> type[BaseModel]:
    """The settings of one item of a list; for a sink, of its type."""
    if model is not SinkSettings or not isinstance(item, Mapping):
        return model
    try:
        settings: type[BaseModel] = module_of(str(item.get("type"))).Settings
    except ValueError:  # refused by name where sinks are read
        return model
    return settings


def _leaves(annotation: Any) -> list[Any]:
    """The types that an annotation such as `float | None` or `tuple[Rule, ...]` is made of."""
    return [leaf for part in get_args(annotation) for leaf in _leaves(part)] or [annotation]
