"""Killed with SIGKILL, at random times and at every call that changes the disk: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from spool_tools import entry, on_a_loop, opened, read_all, segments, settings, soon

RIGS = Path(__file__).parent.parent / "rigs"


def run_victim(folder: Path, *arguments: str) -> list[list[str]]:
    """The words of each line that the victims said before they died."""
    done = subprocess.run(
        [sys.executable, str(RIGS / "spool_victim.py"), str(folder), *arguments],
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(RIGS), *filter(None, sys.path)])},
    )
    return [line.split() for line in done.stdout.decode().splitlines()]


@on_a_loop
async def test_killed_at_every_call_of_the_write_path(tmp_path: Path) -> None:
    said = run_victim(tmp_path, "each")
    acknowledged = defaultdict(set)
    for words in said:
        if words[0] == "ack":
            acknowledged[abs(int(words[1]))].add(words[2].encode())
    (lives,) = (int(words[1]) for words in said if words[0] == "lives")
    assert lives > 25
    assert sum(map(len, acknowledged.values())) > 300
    for life in range(1, lives + 1):
        chosen = settings(tmp_path / str(life), segment_bytes=4096)
        async with opened(chosen) as spool:
            bodies = [one.body for one in await read_all(spool)]
            assert len(bodies) == len(set(bodies)), f"life {life}: stored twice"
            # What the victim released is the oldest; whatever it acknowledged after is there.
            released = {body for body in acknowledged[life] if b"-0-" in body[:8] or b"-1-" in body[:8]}
            assert acknowledged[life] - released <= set(bodies), f"life {life}: lost"
            assert spool.counts.quarantined_regions == 0


@on_a_loop
async def test_killed_at_every_call_while_what_is_released_leaves_the_disk(tmp_path: Path) -> None:
    said = run_victim(tmp_path, "drained")
    (lives,) = (int(words[1]) for words in said if words[0] == "lives")
    assert lives > 20
    for life in range(1, lives + 1):
        mine = [words for words in said if words[0] in ("ack", "release") and abs(int(words[1])) == life]
        released = {f"{words[1]}-{words[2]}-" for words in mine if words[0] == "release"}
        acknowledged = {words[2].encode() for words in mine if words[0] == "ack"}
        kept = {body for body in acknowledged if not body.decode().startswith(tuple(released))}
        chosen = settings(tmp_path / str(life))
        async with opened(chosen) as spool:
            bodies = [one.body for one in await read_all(spool)]
            assert len(bodies) == len(set(bodies)), f"life {life}: stored twice"
            assert kept <= set(bodies), f"life {life}: lost"
            for body in acknowledged:
                assert (await spool.append(entry(body))).duplicate, f"life {life}: forgotten"
            spool.release(spool.end_position)
            await soon(lambda chosen=chosen: not segments(chosen))  # type: ignore[misc]
        assert not segments(chosen)


@on_a_loop
async def test_killed_at_random_times(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    said = run_victim(tmp_path, "random", str(seed))
    acknowledged = {words[2].encode() for words in said if words[0] == "ack"}
    assert sum(words[0] == "open" for words in said) >= 8
    assert len(acknowledged) > 100
    async with opened(settings(tmp_path / "all", max_bytes=1 << 28)) as spool:
        bodies = [one.body for one in await read_all(spool)]
    assert acknowledged <= set(bodies)
    assert len(bodies) == len(set(bodies))
