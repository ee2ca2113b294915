"""`weighbridge check`: the effective settings as YAML. Reading them back gives the same settings, but for secrets."""

from __future__ import annotations

import yaml

from weighbridge.settings import Settings, shown


def effective_yaml(settings: Settings) -> str:
    """Every setting with the value in force; secrets and passwords are hidden."""
    return yaml.safe_dump(shown(settings), sort_keys=False, allow_unicode=True, width=120)
