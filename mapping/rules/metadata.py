"""Metadata as the store takes it: one flat JSON object text, safe for the store's JSON column (spec/store.md §3.3).

In every text that leaves here no key is a path prefix of another (`a` beside `a.b` becomes `a._`), no key
appears twice, no value is null or NaN, and there are at most MAX_KEYS keys, the rest being counted in
`attributes_dropped`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite, isnan
from typing import Any, Final

import orjson

from mapping.bounds import MOST_DOTS, is_key, leaves
from mapping.memory import Memory

MAX_KEYS: Final = 64
_MOST_LOOKED_AT: Final = 2 * MAX_KEYS  # keys after which the rest is only counted
DROPPED_KEY: Final = "attributes_dropped"
_INT64 = 1 << 63
_LONGEST_KEYS: Final = 4096  # characters of all keys of an object whose names are remembered
_SCALARS: Final = frozenset((str, bool, int, float))
_SCALARS_AND_NONE: Final = _SCALARS | {type(None)}


def fragment(key: str, value: Any) -> str:
    """`"key":value`, one member of a metadata object, for a scalar or an array of scalars."""
    return f"{orjson.dumps(key or '_').decode()}:{orjson.dumps(plain_scalar(value)).decode()}"


def plain_scalar(value: Any) -> Any:
    """A JSON form that the store's JSON column takes (spec/store.md §3.3): NaN and infinities as text, bytes as
    base64, no null.
    """
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, list):
        return [plain_scalar(item) for item in value if item is not None]
    return value


def _add_leaves(flat: dict[str, Any], key: str, value: Any) -> int:
    """Adds the leaves of a value under dotted keys; returns how many are left out, being too many or their keys too
    long. Arrays that hold maps become JSON text: the column has no type for them.
    """
    if value is None:
        return 0
    if len(flat) > _MOST_LOOKED_AT or not is_key(key):
        return leaves(value)
    if isinstance(value, dict):
        return sum(_add_leaves(flat, f"{key}.{name}" if key else name, item) for name, item in value.items())
    if isinstance(value, list):
        value = _array(value)
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        value = str(value)
    else:
        value = plain_scalar(value)
    flat[key or "_"] = value
    return 0


def _array(value: list[Any]) -> Any:
    if any(isinstance(item, dict | list) for item in value):
        return orjson.dumps(_plain(value)).decode()
    return [plain_scalar(item) for item in value if item is not None]


def _plain(value: Any) -> Any:
    """A value that orjson can write, NaN and bytes as text."""
    if type(value) is str:
        return value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return str(value)
    return plain_scalar(value)


def json_text(value: Any) -> str:
    """JSON of any decoded value; integers beyond 64 bit and values that JSON has no form for as text."""
    return orjson.dumps(_plain(value)).decode()


def renamed(names: Iterable[str]) -> dict[str, str]:
    """For names that are a path prefix of another one: what each is called instead."""
    known = set(names)
    prefixes: set[str] = set()
    for name in known:
        at = name.find(".")
        while at >= 0:
            prefixes.add(name[:at])
            at = name.find(".", at + 1)
    out = {}
    for name in known & prefixes:
        new = f"{name}._"
        while new in known or new in prefixes:
            new += "_"
        out[name] = new
    if "" in known:
        out[""] = "_"
    return out


_renamed = lru_cache(maxsize=1024)(renamed)  # the same keys come together again and again


def flat_text(pairs: Iterable[tuple[str, Any]], left_out: int = 0) -> str:
    """The metadata object of (key, value) pairs, values already masked. Of equal keys the last counts.

    left_out: keys that the caller has dropped already; they are counted with those dropped here.
    """
    flat: dict[str, Any] = {}
    for key, value in pairs:
        kind = type(value)
        if len(key) <= MOST_DOTS and (
            kind is str
            or kind is bool
            or (kind is int and -_INT64 <= value < _INT64)
            or (kind is float and isfinite(value))
        ):
            flat[key or "_"] = value
        else:
            left_out += _add_leaves(flat, key, value)
    if len(flat) > MAX_KEYS or left_out:
        kept = dict(list(flat.items())[: MAX_KEYS - 1])
        flat = {**kept, DROPPED_KEY: len(flat) - len(kept) + left_out}
    keys = tuple(flat)
    names = _renamed(keys) if sum(map(len, keys)) <= _LONGEST_KEYS else renamed(keys)
    if names:
        flat = {names.get(name, name): leaf for name, leaf in flat.items()}
    return orjson.dumps(flat).decode()


def flat_object(flat: dict[str, Any]) -> str:
    """As `flat_text` of the dict's pairs, in half the time where all keys are usual and numbers of usual size."""
    shown, left_out = flat, 0
    kinds = {*map(type, flat.values())}
    if type(None) in kinds and kinds <= _SCALARS_AND_NONE:
        shown = {key: value for key, value in flat.items() if value is not None}
    elif not kinds <= _SCALARS:
        shown = {}
        for key, value in flat.items():
            if type(value) in _SCALARS:
                shown[key] = value
            else:
                left_out += _add_leaves(shown, key, value)
    if not left_out and (names := _plain_names[tuple(shown)]) is not None and _are_usual(shown):
        return orjson.dumps({names.get(key, key): value for key, value in shown.items()} if names else shown).decode()
    return flat_text(flat.items())


def _names(keys: tuple[str, ...]) -> dict[str, str] | None:
    """What some of the keys are called instead; None when some of them have to be left out."""
    return renamed(keys) if len(keys) <= MAX_KEYS and all(map(is_key, keys)) else None


_plain_names: Final[Memory[dict[str, str] | None]] = Memory(_names, 1024, longest=_LONGEST_KEYS)


def _are_usual(values: Mapping[str, Any]) -> bool:
    """Whether all numbers are finite and within 64 bits; False also for floats beyond them, which are rare."""
    for value in values.values():
        kind = type(value)
        if (kind is int or kind is float) and not -_INT64 <= value < _INT64:  # NaN is not, either
            return False
    return True


@lru_cache(maxsize=8192)
def _path(key: str) -> tuple[list[str], str]:
    """(outer keys, innermost key) of a dotted key."""
    *path, last = key.split(".")
    return path, "_value" if set(last) == {"_"} else last


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested objects (spec/mapping.md §6 L7); a scalar beside deeper keys is found under
    `_value`.
    """
    out: dict[str, Any] = {}
    for key, value in flat.items():
        if "." not in key:
            inner = out.get(key)
            if isinstance(inner, dict):
                inner["_value"] = value
            else:
                out[key] = value
            continue
        path, last = _path(key) if len(key) <= 256 else _path.__wrapped__(key)
        at = out
        for part in path:
            inner = at.get(part)
            if not isinstance(inner, dict):
                inner = at[part] = {} if part not in at else {"_value": inner}
            at = inner
        if isinstance(at.get(last), dict):
            at[last]["_value"] = value
        else:
            at[last] = value
    return out
