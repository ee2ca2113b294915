"""The systemd unit: systemd reads it without a complaint, and finds it as closed as it claims."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from mapping.quantities import size_bytes
from project_files import ROOT
from weighbridge.settings import Settings

pytestmark = [pytest.mark.tools, pytest.mark.process]

UNIT = ROOT / "deploy/systemd/weighbridge.service"
MOST_EXPOSED = 20  # tenths; systemd's scale ends at 100, and calls less than 20 "OK"


def service() -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return dict(parser["Service"])


def test_systemd_reads_it_without_a_complaint(tmp_path: Path) -> None:
    """With a program that is here: verify looks whether it can be started."""
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/weighbridge/bin/weighbridge", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.name in line]) == (0, [])
    here.write_text(here.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True)
    assert "NoNewPrivilege" in done.stderr  # a word that systemd does not know is seen


def test_systemd_finds_it_closed(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:]


def test_a_drain_has_the_time_it_takes_and_the_engine_the_memory() -> None:
    engine = Settings().exporter.sinks[0].engine  # type: ignore[attr-defined]
    unit = service()
    assert float(unit["TimeoutStopSec"]) >= engine.drain_s + 20
    assert size_bytes(unit["MemoryMax"] + "iB") > engine.max_memory_bytes * 4 / 3 + (512 << 20)
    assert unit["KillMode"] == "mixed"  # the bridge tells the engine when to stop


def test_it_says_how_to_install_what_the_image_has() -> None:
    installed = re.findall(r"pip install (--constraint constraints.txt [^\n&]+)", (ROOT / "Dockerfile").read_text())
    text = UNIT.read_text()
    assert [line for line in installed if line.strip() not in text] == []
