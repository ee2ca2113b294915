"""Which settings files there are, and what they say together; nothing in it is checked yet.

This module is the only one that reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.settings_text import TextError, read_document

ENVIRONMENT_VARIABLE = "WEIGHBRIDGE_CONFIG"
DEFAULTS_VARIABLE = "WEIGHBRIDGE_DEFAULTS"  # a file whose settings hold where the other one names none
DEFAULT_FILE = "weighbridge.yaml"


class SettingsError(Exception):
    """One line for the operator: which setting, what is wrong, what would be right. Never holds a secret's value."""


def environment_of(given: Mapping[str, str] | None) -> Mapping[str, str]:
    """The process's own where none is given."""
    return os.environ if given is None else given


def find_file(path: str | None, environment: Mapping[str, str] | None = None) -> Path | None:
    """The file that `load_settings` would read: the one named, else $WEIGHBRIDGE_CONFIG, else ./weighbridge.yaml."""
    named = path or environment_of(environment).get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(named)
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def files_of(path: str | None, environment: Mapping[str, str]) -> list[Path]:
    """The settings files that there are, the one that is beneath first."""
    beneath = environment.get(DEFAULTS_VARIABLE)
    return [file for file in (Path(beneath) if beneath else None, find_file(path, environment)) if file is not None]


def given(files: list[Path]) -> dict[str, Any]:
    """What the files say together, references not yet replaced. Raises SettingsError."""
    document: dict[str, Any] = {}
    for file in files:
        document = _laid_over(document, _document(file))
    return document


def _document(file: Path) -> dict[str, Any]:
    """What a file says, references not yet replaced. Raises SettingsError."""
    try:
        document = read_document(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not YAML: no UTF-8 at byte {error.start + 1}") from error
    except TextError as error:
        raise SettingsError(f"{file}: {error}") from error
    if document is not None and not isinstance(document, dict):
        raise SettingsError(f"{file}: expected sections such as `receiver:` at the top level")
    return document or {}


def _laid_over(beneath: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections of both, setting by setting; where both name one, `above` has it. Lists are replaced whole."""
    found = {**beneath, **above}
    for name in beneath.keys() & above.keys():
        if isinstance(beneath[name], dict) and isinstance(above[name], dict):
            found[name] = _laid_over(beneath[name], above[name])
    return found
