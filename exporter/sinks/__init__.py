"""One file per destination; `type:` in the settings is the file's name.

A sink's module has `Settings` (a subclass of SinkSettings) and `create(settings, ...) -> Sink`; only the modules that
the settings name are imported, so a library that only one sink needs is never loaded without it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from exporter.settings import SinkSettings


def types() -> list[str]:
    """The kinds of destination that exist."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if "_" not in module.name)


def module_of(type_: str) -> Any:
    """The module of a kind of sink. Raises ValueError for a kind that does not exist or lacks its library."""
    if type_ not in types():
        raise ValueError(f"no sink type `{type_}`; known: {', '.join(types())}")
    try:
        return importlib.import_module(f"{__name__}.{type_}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"sink type `{type_}` needs the Python package `{error.name}`, which is not installed"
        ) from error


def parse_sink(values: Any) -> SinkSettings:
    """The settings of one sink, by its `type`. Raises ValueError or pydantic's ValidationError (a ValueError)."""
    if isinstance(values, SinkSettings):
        return values
    if not isinstance(values, dict) or "type" not in values:
        raise ValueError(f"every sink needs `name` and `type`; types: {', '.join(types())}")
    settings: SinkSettings = module_of(str(values["type"])).Settings.model_validate(values)
    return settings
