"""JSON Schema of the settings file, for editors: `weighbridge check --schema`.

Made of the settings classes, and as wide as the reader: a number may be a text with its unit where the setting's name
ends in one, every value may be a reference to the environment. What only the reader can tell (two keys alike, settings
that cannot be meant together) it does not say.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from exporter.sinks import module_of, types
from weighbridge.settings import Settings
from weighbridge.settings_units import SUFFIXES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# ${NAME}, ${env:NAME}, ${NAME:-default} anywhere in a text
_REFERENCE = {"type": "string", "pattern": r"\$\{(env:)?[A-Za-z_][A-Za-z0-9_]*(:-[^{}$]*)?\}"}
_QUANTITY = {"type": "string", "pattern": r"^\s*[0-9]"}
_NO_CHOICE = ("integer", "number", "boolean")
_RATES = ("rate", "head_rate")  # texts such as 1/3, or numbers
_TABLES_OF_NAMES = ("Dialect", "Vocabulary", "SpanVocabulary", "Models", "Sign", "GenAiSettings", "DbSettings")


def schema() -> dict[str, Any]:
    """The whole of it."""
    definitions: dict[str, Any] = {}
    found = _of_model(Settings, definitions)
    for kind in types():
        of_kind = _of_model(module_of(kind).Settings, definitions)
        of_kind["properties"]["type"] = {"const": kind}
        of_kind["required"] = sorted({"name", "type", *of_kind.get("required", ())})
        definitions[f"sink_{kind}"] = of_kind
    definitions.pop("SinkSettings")
    definitions["ExporterSettings"]["properties"]["sinks"]["items"] = {
        "type": "object",
        "required": ["name", "type"],
        "properties": {"type": {"enum": types()}},
        "allOf": [_when(kind, {"$ref": f"#/$defs/sink_{kind}"}) for kind in types()],
    }
    for name, model in (("", found), *definitions.items()):
        for setting, value in model.get("properties", {}).items():
            model["properties"][setting] = _widened(value, setting, words=name in _TABLES_OF_NAMES)
    definitions["Presets"] = {"type": ["object", "null"]}  # a gateway's own settings, pasted as they stand there
    lanes = definitions["LanesSettings"]
    definitions["LanesSettings"] = {"anyOf": [lanes, {"type": "integer"}, {"const": "auto"}, _REFERENCE]}
    return {"$schema": DIALECT, **found, "title": "weighbridge", "$defs": definitions}


def _of_model(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a model, its settings by all names they go by; those of its parts go into definitions."""
    named, other = (
        model.model_json_schema(mode="validation", by_alias=by_alias, ref_template="#/$defs/{model}")
        for by_alias in (False, True)
    )
    for name, part in other.pop("$defs", {}).items():
        named.setdefault("$defs", {}).setdefault(name, part)
        for setting, value in part.get("properties", {}).items():
            named["$defs"][name]["properties"].setdefault(setting, value)
    definitions.update(named.pop("$defs", {}))
    found: dict[str, Any] = named
    return found


def _when(kind: str, sink: dict[str, str]) -> dict[str, Any]:
    """Only the settings of its own type are spoken of when a sink is wrong."""
    return {"if": {"properties": {"type": {"const": kind}}}, "then": sink}


def _widened(value: dict[str, Any], name: str, *, words: bool) -> dict[str, Any]:
    """The schema of one value, which may also be written as the reader understands it.

    words: one name may stand where a list of names is asked for.
    """
    for part in ("anyOf", "oneOf"):
        if part in value:
            return {**value, part: [_widened(one, name, words=words) for one in value[part]]}
    told: dict[str, Any] = {key: value[key] for key in ("title", "description", "default") if key in value}
    exact = {key: item for key, item in value.items() if key not in told}
    kind = value.get("type")
    if kind == "array" and isinstance(value.get("items"), dict):
        several = {**exact, "items": _widened(value["items"], "", words=words)}
        return {**told, **({"anyOf": [several, {"type": "string"}]} if words else several)}
    if kind == "object" and isinstance(value.get("additionalProperties"), dict):
        return {**value, "additionalProperties": _widened(value["additionalProperties"], name, words=words)}
    if kind == "string" and name in _RATES:
        return {**told, "type": ["string", "number"]}
    if not (kind in _NO_CHOICE or "enum" in value):
        return value
    others = [_QUANTITY] if kind in ("integer", "number") and name.endswith(SUFFIXES) else []
    return {**told, "anyOf": [exact, *others, _REFERENCE]}
