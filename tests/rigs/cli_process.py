"""The command line as a user starts it: a process of its own, from some other directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import weighbridge

PACKAGES = str(Path(weighbridge.__file__).parent.parent)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEIGHBRIDGE_", "OTEL_"))}
    return {**kept, "PYTHONPATH": PACKAGES, "PYTHONWARNINGS": "error", **(more or {})}


def run_cli(*arguments: str, cwd: Path, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command run to its end, output as text."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "weighbridge", *arguments],
        cwd=cwd,
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
