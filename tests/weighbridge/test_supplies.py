"""What runs out is told in time: room in the spool, free disk, the certificate."""

from __future__ import annotations

import random
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge_inside import asked, post, running
from otlp_requests import spans_request
from receiver.certificate import soonest_end
from spool_tools import on_a_loop

pytestmark = pytest.mark.process


def values(text: str, name: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
    return {labels.removeprefix(name): float(value) for labels, value in lines}


@on_a_loop
async def test_room_and_disks_are_told(tmp_path: Path) -> None:
    sinks = [
        {"name": "files", "type": "jsonlines", "path": str(tmp_path / "out" / "events")},
        {"name": "out", "type": "jsonlines", "path": "-"},
    ]
    (tmp_path / "out").mkdir()
    spool = {"directory": str(tmp_path / "spool"), "max_bytes": 8 << 20, "segment_bytes": 1 << 20}
    async with running(tmp_path, spool=spool, exporter={"sinks": sinks}) as (receiver, admin):
        before = values(await asked(f"{admin}/metrics"), "weighbridge_spool_room_bytes")[""]
        await post(receiver, spans_request(random.Random(1), 200)[1])
        text = await asked(f"{admin}/metrics")
    used = values(text, "weighbridge_spool_bytes")[""]
    assert before <= 8 << 20
    assert values(text, "weighbridge_spool_room_bytes")[""] == (8 << 20) - used
    free, size = values(text, "weighbridge_disk_free_bytes"), values(text, "weighbridge_disk_bytes")
    assert set(free) == set(size) == {'{place="spool"}', '{place="files"}'}
    here = shutil.disk_usage(tmp_path)
    assert size['{place="spool"}'] == here.total
    assert 0 < free['{place="files"}'] <= here.total
    assert values(text, "weighbridge_receiver_certificate_end") == {}


@on_a_loop
async def test_a_disk_that_is_nearly_full_leaves_less_room_than_the_spool_may_take(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    spool = {"directory": str(tmp_path / "spool"), "max_bytes": 1 << 60, "min_free_bytes": free - (1 << 30)}
    async with running(tmp_path, spool=spool) as (_, admin):
        text = await asked(f"{admin}/metrics")
    assert 0 <= values(text, "weighbridge_spool_room_bytes")[""] < free


def certificate(folder: Path, name: str, days: int, *more: str) -> tuple[Path, Path]:
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", str(days), *more]
    command += ["-subj", f"/CN={name}", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def from_now(days: int) -> float:
    return (datetime.now(UTC) + timedelta(days=days)).timestamp()


@pytest.mark.parametrize("days", [1, 90, 3650, 20_000])
def test_the_end_of_a_certificate_is_read(days: int, tmp_path: Path) -> None:
    """After 2049 the time is written with four digits of the year."""
    made, _ = certificate(tmp_path, "one", days, "-addext", "subjectAltName=DNS:localhost")
    assert abs(soonest_end(made) - from_now(days)) < 120


def test_of_a_chain_the_first_end_counts(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    parts = [certificate(tmp_path, name, days)[0].read_text() for name, days in (("a", 400), ("b", 3), ("c", 90))]
    chain.write_text("a comment\n" + "\n".join(parts))
    assert abs(soonest_end(chain) - from_now(3)) < 120


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "x" * 5000])
def test_what_is_no_certificate_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text(text)
    with pytest.raises((ValueError, LookupError)):
        soonest_end(tmp_path / "no.pem")


@on_a_loop
async def test_metrics_tell_the_end_of_the_receivers_certificate(tmp_path: Path) -> None:
    made, key = certificate(tmp_path, "localhost", 30)
    tls = {"certificate_file": str(made), "private_key_file": str(key)}
    async with running(tmp_path, receiver={"endpoint": "127.0.0.1:0", "tls": tls}) as (_, admin):
        name = "weighbridge_receiver_certificate_end_timestamp_seconds"
        assert abs(values(await asked(f"{admin}/metrics"), name)[""] - from_now(30)) < 120
        made.unlink()
        assert values(await asked(f"{admin}/metrics"), name)[""] == 0
