"""The image without a container engine: the Dockerfile's own lines run in a Debian root, one overlay a stage.

`build` makes a stage and those it is made from; `Container` runs its command as an engine would: as the user of the
image, with a read-only root, a tmpfs on /tmp, no capabilities, and mounts, processes, names and network of its own.
Needs root, debootstrap's root of Debian, and overlayfs. What differs from an engine: the base is Debian's Python
instead of the image's, packages are cached, and memory is not bounded.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bridge import eventually
from project_files import ROOT

ADDRESS = "172.31.9.2"  # of a container on the loopback device of its own network
HOSTNAME = "bridge-1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of the base image
# What a root needs of this machine to reach the package index while it is built.
_BORROWED = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/opt/wheels")
_PASSED_ON = re.compile(r"PIP_|SSL_CERT|REQUESTS_CA|https?_proxy|HTTPS?_PROXY")
BUILD_S = 600.0
_NAMESPACES = ("--mount", "--net", "--uts", "--ipc", "--pid")


@dataclass
class Stage:
    """One FROM of the Dockerfile with what its lines say, parents' included."""

    name: str
    parent: str  # another stage, or an image
    lines: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    directory: str = "/"
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def stages(dockerfile: str) -> dict[str, Stage]:
    """The stages in order. Raises ValueError for an instruction that this rig does not know."""
    found: dict[str, Stage] = {}
    text = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in text.replace("\\\n", " ").splitlines():
        word, _, argument = line.strip().partition(" ")
        if word == "FROM":
            parent, _, name = argument.partition(" AS ")
            above = found.get(parent)
            stage = Stage(name, parent)
            if above:
                for inherited in ("environment", "user", "directory", "volumes", "entrypoint", "command", "health"):
                    value = getattr(above, inherited)
                    setattr(stage, inherited, value if isinstance(value, str) else type(value)(value))
            found[name] = stage
        elif word:
            _take(stage, word, argument.strip())
    return found


def _take(stage: Stage, word: str, argument: str) -> None:
    match word:
        case "RUN" | "COPY":
            stage.lines.append((word, argument))
        case "WORKDIR":
            stage.directory = argument
            stage.lines.append((word, argument))
        case "ENV":
            for pair in shlex.split(argument):
                name, _, value = pair.partition("=")
                path = stage.environment.get("PATH", PATH)
                stage.environment[name] = value.replace("$PATH", path)
            stage.lines.append((word, argument))
        case "USER":
            stage.user = argument
        case "VOLUME":
            stage.volumes.append(argument)
        case "ENTRYPOINT":
            stage.entrypoint = yaml.safe_load(argument)
        case "CMD":
            stage.command = yaml.safe_load(argument)
        case "HEALTHCHECK":
            stage.health = yaml.safe_load(argument.partition("CMD ")[2])
        case "LABEL" | "EXPOSE" | "STOPSIGNAL":
            pass
        case _:
            raise ValueError(f"the rig does not know {word}: teach it")


class Builder:
    """Builds stages over one root of Debian, each once."""

    def __init__(self, base: Path, work: Path, cache: Path) -> None:
        """base: what debootstrap made. work: an empty folder for the layers. cache: pip's, kept between runs."""
        self.stages = stages((ROOT / "Dockerfile").read_text())
        self._base = base
        self._work = work
        self._cache = cache
        self._layers: dict[str, list[Path]] = {}  # of a stage, the uppermost first

    def build(self, name: str) -> list[Path]:
        """The folders that are its root, laid over one another, the uppermost first."""
        if name in self._layers:
            return self._layers[name]
        if name not in self.stages:
            return [self._base]  # an image: python:…-slim
        stage = self.stages[name]
        below = self.build(stage.parent)
        for _, argument in (line for line in stage.lines if line[0] == "COPY"):
            if source := re.match(r"--from=(\S+)", argument):
                self.build(source[1])
        upper = self._work / name / "upper"
        for folder in (upper, self._work / name / "work"):
            folder.mkdir(parents=True)
        with self._mounted(name, below, upper) as root:
            self._run_lines(stage, root)
        self._layers[name] = [upper, *below]
        return self._layers[name]

    @contextlib.contextmanager
    def _mounted(self, name: str, below: list[Path], upper: Path) -> Iterator[Path]:
        root = self._work / name / "root"
        root.mkdir()
        options = f"lowerdir={':'.join(map(str, below))},upperdir={upper},workdir={upper.with_name('work')}"
        _call("mount", "-t", "overlay", "overlay", "-o", options, str(root))
        try:
            yield root
        finally:
            _call("umount", "--lazy", str(root))

    def _run_lines(self, stage: Stage, root: Path) -> None:
        environment = dict(self.stages[stage.parent].environment) if stage.parent in self.stages else {}
        directory = self.stages[stage.parent].directory if stage.parent in self.stages else "/"
        so_far = Stage(stage.name, stage.parent, environment=environment)
        for word, argument in stage.lines:
            if word == "ENV":
                _take(so_far, word, argument)
            elif word == "WORKDIR":
                directory = argument
                (root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self._copy(argument, root, directory)
            else:
                self._run(argument, root, directory, so_far.environment)

    def _copy(self, argument: str, root: Path, directory: str) -> None:
        *sources, target = shlex.split(argument)
        place = root / os.path.normpath(f"{directory}/{target}" if not target.startswith("/") else target).lstrip("/")
        origin = ROOT
        if sources[0].startswith("--from="):
            with self._looked_at(sources.pop(0).removeprefix("--from=")) as origin:
                self._copy_into(origin, sources, place)
        else:
            self._copy_into(origin, sources, place)

    @staticmethod
    def _copy_into(origin: Path, sources: list[str], place: Path) -> None:
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():  # an engine copies what is in the folder
                _call("cp", "-a", "--no-preserve=ownership", f"{found}/.", str(_made(place)))
            else:
                shutil.copy2(found, _made(place))

    @contextlib.contextmanager
    def _looked_at(self, name: str) -> Iterator[Path]:
        """The finished root of a stage, to copy from."""
        seen = self._work / name / "seen"
        seen.mkdir(exist_ok=True)
        lower = ":".join(map(str, self._layers[name]))
        _call("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", str(seen))
        try:
            yield seen
        finally:
            _call("umount", "--lazy", str(seen))

    def _run(self, line: str, root: Path, directory: str, environment: dict[str, str]) -> None:
        passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
        # Everything but what the image says of the cache: a test does not load half a gigabyte anew each time.
        inside = {"PATH": PATH, **environment, **passed_on, "HOME": "/root", "PIP_CACHE_DIR": "/cache"}
        inside.pop("PIP_NO_CACHE_DIR", None)
        self._cache.mkdir(parents=True, exist_ok=True)
        binds = "".join(
            f"mkdir -p {Path(root, path.lstrip('/')).parent}; "
            + (f"mkdir -p {root}{path}; " if Path(path).is_dir() else f"touch {root}{path}; ")
            + f"mount --bind {Path(path).resolve()} {root}{path}; "
            for path in _BORROWED
            if Path(path).exists()
        )
        # The folders that the mounts need are gone again, as far as they were not there before.
        script = (
            f"set -e; {binds} mkdir -p {root}/cache; mount --bind {self._cache} {root}/cache; "
            f"mount -t proc proc {root}/proc; mount --bind /dev {root}/dev; "
            f"exec chroot {root} /bin/sh -c {shlex.quote(f'cd {directory} && {line}')}"
        )
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", script]
        done = subprocess.run(command, env=inside, capture_output=True, text=True, timeout=BUILD_S)
        assert done.returncode == 0, f"RUN {line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        for leftover in ("cache", "opt/wheels"):
            with contextlib.suppress(OSError):
                (root / leftover).rmdir()


class Container:
    """One container of a stage, over a volume that outlives it."""

    def __init__(self, builder: Builder, stage: str, work: Path, volume: Path, **environment: str) -> None:
        self.stage = builder.stages[stage]
        self._root = work / "root"
        self._root.mkdir(parents=True)
        self._layers = ":".join(map(str, builder.build(stage)))
        self._work = work
        self._volume = volume
        self._environment = {**self.stage.environment, "HOSTNAME": HOSTNAME, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = work / "log"

    def start(self, settings: Path | None = None) -> None:
        """Run the image's entry point. settings: a file that is mounted as /etc/weighbridge/weighbridge.yaml."""
        user = self.stage.user
        self._volume.mkdir(exist_ok=True)
        os.chown(self._volume, int(user), int(user))  # as an engine does with a new volume: from the image's folder
        self._volume.chmod(0o700)
        root = self._root
        (self._work / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOSTNAME}\n")
        lines = [
            f"mount -t overlay overlay -o ro,lowerdir={self._work / 'over'}:{self._layers} {root}",
            f"mount --bind {self._volume} {root}{self.stage.volumes[0]}",
            f"mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs {root}/tmp",
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",
            *(
                f"touch {root}/dev/{device}; mount --bind /dev/{device} {root}/dev/{device}"
                for device in ("null", "zero", "random", "urandom")
            ),
            f"mkdir {root}/dev/shm; mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/dev/shm",
            f"mount --bind {self._work / 'hosts'} {root}/etc/hosts",
            f"hostname {HOSTNAME}; ip link set lo up; ip addr add {ADDRESS}/32 dev lo",
        ]
        over = self._work / "over" / "etc"
        over.mkdir(parents=True, exist_ok=True)
        (over / "hosts").touch()
        if settings is not None:
            (over / "weighbridge").mkdir(exist_ok=True)
            shutil.copy(settings, over / "weighbridge" / "weighbridge.yaml")
        script = "set -e\n" + "\n".join(lines) + f"\nexec chroot {root} {self._as_user(self._program())}"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", *_NAMESPACES, "--fork", "--kill-child", "/bin/sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _program(self) -> list[str]:
        return [*self.stage.entrypoint, *self.stage.command]

    def _as_user(self, command: list[str]) -> str:
        who = f"setpriv --reuid {self.stage.user} --regid {self.stage.user} --clear-groups"
        strict = f"{who} --inh-caps=-all --bounding-set=-all --no-new-privs"
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        return f"{strict} -- env -i -C {self.stage.directory} {shlex.join([*variables, *command])}"

    @property
    def pid(self) -> int:
        """The first process of the container, as this machine numbers it."""
        assert self._process is not None

        def child() -> int:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text()[-2000:]
            listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            return int(listed[0]) if listed else 0

        found: int = eventually(child, "the container has a process")
        return found

    def exec(self, *command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """A command inside, as `docker exec` runs it."""
        inside = ["nsenter", "--target", str(self.pid), *_NAMESPACES, "--root", "--wd"]
        return subprocess.run(
            [*inside, "/bin/sh", "-c", f"exec {self._as_user(list(command))}"],
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def healthy(self) -> subprocess.CompletedProcess[str]:
        """The image's own health check."""
        return self.exec(*self.stage.health)

    def wait_until_healthy(self) -> None:
        eventually(lambda: self.healthy().returncode == 0, "the container is healthy", timeout_s=120.0)

    def status(self) -> dict[str, str]:
        """What the kernel says of the container's first process."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """A signal to the first process; the exit status of the container."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.pid, number)
        return self._process.wait(120)


def _made(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    return place


def _call(*command: Any) -> None:
    done = subprocess.run(list(command), capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(map(str, command))}: {done.stderr}"
