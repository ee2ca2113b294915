"""What was measured, where and with what, as Markdown between two markers of a document.

R01 to R31 are the rows of spec/reliability.md §4.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"

# Rows of the fault matrix that no story puts to a whole system, and what is there instead.
NOT_TOLD = (
    (
        "R03",
        "power cut",
        "a page cache survives `kill -9`; a disk in memory forgets: `tests/receiver/test_spool_power_cut.py`",
    ),
    ("R17", "damaged spool", "`tests/receiver/test_spool_damage.py`"),
    (
        "R20, R21, R23",
        "malformed, mixed and exploding requests",
        "`tests/receiver/test_receiver_fuzz.py`, `bench.receiver_abuse`",
    ),
    ("R22", "slow-loris", "`tests/receiver/conformance/test_slow_senders.py`"),
    ("R25", "a noisy tenant", "`tests/receiver/conformance/test_s11_cors_and_auth.py`"),
    ("R28", "files of an older version", "`tests/exporter/test_delivery_formats.py`; there is no older release yet"),
    ("R30", "2 h and 24 h soaks", "not run as such: `comes-and-goes` with `--seconds 7200` is the soak"),
    ("R31", "the same faults for others", "`python -m faults.compare`, for rotel"),
)


def environment() -> list[str]:
    """Machine, versions, commit and load of this moment, a line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return [
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {_commit()}",
        f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; load average before the run {os.getloadavg()[0]:.1f}",
    ]


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def write(document: Path, name: str, lines: list[str]) -> None:
    """Put the lines between the markers of that name; a document without them, or a new one, gets them at its end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text(encoding="utf-8") if document.exists() else ""
    if begin not in text or end not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    document.write_text("\n".join([f"{before}{begin}", "", *lines, "", f"{end}{after}"]), encoding="utf-8")


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(DOCUMENT.parent.parent), *words],  # noqa: S607 - the one on the path
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "*.sql")
        return git("rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
