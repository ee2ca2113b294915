"""The image and the compose file agree with the project, as far as can be told without a container engine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Command

from bridge import BridgeProcess, free_port
from mapping.quantities import seconds, size_bytes
from project_files import ROOT, project_file
from weighbridge.cli import main
from weighbridge.settings import Settings, load_settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
COLLECTOR: dict[str, Any] = yaml.safe_load((ROOT / "config/collector.yaml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(word: str) -> list[str]:
    """The arguments of every instruction of one kind, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in joined.splitlines() if line.startswith(f"{word} ")]


def only(word: str) -> str:
    (argument,) = instructions(word)
    return argument


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in instructions("ENV") for pair in shlex.split(argument))


def loaded(own: Path | None = None) -> Settings:
    """What the image runs with, own settings laid over its defaults."""
    defaults = ROOT / "config" / Path(environment()["WEIGHBRIDGE_DEFAULTS"]).name
    return load_settings(str(own) if own else None, {"WEIGHBRIDGE_DEFAULTS": str(defaults)})


@pytest.fixture(scope="module")
def settings() -> Settings:
    return loaded()


def port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def test_every_copied_file_exists() -> None:
    sources = [source for copy in instructions("COPY") if "--from" not in copy for source in shlex.split(copy)[:-1]]
    assert sources
    assert [source for source in sources if not project_file(source).exists()] == []


def test_what_is_copied_is_sent_to_the_builder() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {source for copy in instructions("COPY") if "--from" not in copy for source in shlex.split(copy)[:-1]}
    assert sources == allowed


def test_every_package_of_the_wheel_is_copied() -> None:
    copied = {source for copy in instructions("COPY") for source in shlex.split(copy)[:-1]}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) | set(wheel["shared-data"]) <= copied


def test_the_image_installs_what_make_install_installs() -> None:
    def wanted(text: str) -> set[tuple[str, ...]]:
        engine = re.search(r"^ENGINE := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert engine
        return {
            tuple(word for word in found.replace("$(ENGINE)", engine[1]).split() if word != "--editable")
            for found in re.findall(r"(?:\$\(PIP\)|pip) install ([^\n&]+)", text)
        }

    recipe = re.search(r"^\$\(VENV\)/\.runtime:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
    assert recipe
    assert wanted(DOCKERFILE) == wanted(recipe[0])


def test_no_destination_lacks_its_client_in_image_and_make_run() -> None:
    """Every optional package is installed but the engine, which comes without what its metadata asks for, and what no
    bridge needs: tools of developers, and the console as tools for agents."""
    installed = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    assert installed
    assert set(installed[1].split(",")) == set(PROJECT["optional-dependencies"]) - {"dev", "browser", "embedded", "mcp"}


def test_the_python_of_the_image_is_one_that_the_project_accepts() -> None:
    stages = {image.split(" ")[-1] for image in instructions("FROM")}
    images = {image.split(" ")[0] for image in instructions("FROM")} - stages
    assert len(images) == 1, "build and run time must be the same image: the environment is copied between them"
    version = re.fullmatch(r"python:(3\.\d+)-slim", images.pop())
    lowest = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])
    assert version
    assert lowest
    assert tuple(map(int, version[1].split("."))) >= tuple(map(int, lowest[1].split(".")))


def test_the_small_target_is_the_other_one_without_the_engine() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    *_, small, embedded = stages
    assert small.splitlines()[0].endswith(" AS small")
    assert "--from=engine" not in small
    assert embedded.splitlines() == ["small AS embedded", "COPY --from=engine /opt/weighbridge /opt/weighbridge"]


def test_the_image_says_what_it_is() -> None:
    labels = dict(pair.split("=", 1) for argument in instructions("LABEL") for pair in shlex.split(argument))
    of = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    assert (of["title"], of["version"], of["licenses"]) == (PROJECT["name"], PROJECT["version"], PROJECT["license"])
    assert of["base.name"].rpartition("/")[2] in instructions("FROM")[0]


def test_the_image_starts_a_command_that_exists() -> None:
    (program,) = yaml.safe_load(only("ENTRYPOINT"))
    (command,) = yaml.safe_load(only("CMD"))
    assert program in PROJECT["scripts"]
    assert isinstance(main.commands[command], Command)


def test_the_image_does_not_run_as_root() -> None:
    user = only("USER")
    assert int(user) > 0
    assert f"--uid {user}" in DOCKERFILE


def test_everything_that_must_last_is_on_the_volume(settings: Settings) -> None:
    volume = Path(only("VOLUME"))
    assert Path(settings.spool.directory).is_relative_to(volume)
    (sink,) = settings.exporter.sinks
    assert Path(str(sink.dsn).removeprefix("chdb://")).is_relative_to(volume)  # type: ignore[attr-defined]
    mounts = COMPOSE["services"]["weighbridge"]["volumes"]
    assert [mount.split(":")[1] for mount in mounts] == [str(volume)]
    assert {mount.split(":")[0] for mount in mounts} <= set(COMPOSE["volumes"])


def test_the_bridge_can_write_to_its_volume_and_tmp_only() -> None:
    bridge = COMPOSE["services"]["weighbridge"]
    assert (bridge["read_only"], bridge["cap_drop"], bridge["tmpfs"]) == (True, ["ALL"], ["/tmp"])


def test_ports_agree_with_the_settings(settings: Settings) -> None:
    inside = [str(port(endpoint)) for endpoint in (settings.receiver.endpoint, settings.admin.endpoint)]
    assert only("EXPOSE").split() == inside
    assert [mapping.split(":")[-1] for mapping in COMPOSE["services"]["weighbridge"]["ports"]] == inside
    exporter = COLLECTOR["exporters"]["otlp_http"]
    assert exporter["endpoint"] == f"http://weighbridge:{inside[0]}"


def test_own_settings_keep_the_ports_and_places_of_the_image(tmp_path: Path, settings: Settings) -> None:
    own = tmp_path / "weighbridge.yaml"
    own.write_text(
        "receiver: {max_records: 7}\n"
        "admin: {allowed_hosts: [bridge-1]}\n"
        "exporter: {sinks: [{name: files, type: jsonlines, path: /var/lib/weighbridge/events}]}\n"
    )
    found = loaded(own)
    assert (found.receiver.endpoint, found.receiver.max_records) == (settings.receiver.endpoint, 7)
    assert (found.admin.endpoint, found.admin.allowed_hosts) == (settings.admin.endpoint, ("bridge-1",))
    assert found.spool == settings.spool
    assert [sink.name for sink in found.exporter.sinks] == ["files"]


def test_prometheus_and_probes_reach_the_admin_port(settings: Settings) -> None:
    """From another host, by address or by the name that compose gives the container."""
    assert settings.admin.endpoint.startswith("0.0.0.0:")
    assert set(settings.admin.allowed_hosts) == set(COMPOSE["services"]) - {"collector"}


def test_the_health_check_asks_the_ports_of_the_image(settings: Settings) -> None:
    _, _, command = only("HEALTHCHECK").partition("CMD ")
    *program, receiver_port, admin_port = yaml.safe_load(command)
    assert program == ["python", "-P", "-m", "weighbridge.healthcheck"]
    assert (int(receiver_port), int(admin_port)) == (port(settings.receiver.endpoint), port(settings.admin.endpoint))


def check_health(receiver_port: int, admin_port: int, *host: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "weighbridge.healthcheck", str(receiver_port), str(admin_port), *host]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_bridge_is_healthy_only_where_others_reach_it(tmp_path: Path) -> None:
    """127.0.0.2 is another address of this machine: a receiver on 127.0.0.1 alone does not listen there."""
    bridge = BridgeProcess(tmp_path, exporter={"sinks": [{"name": "nowhere", "type": "blackhole"}]})
    bridge.configure(
        admin={"endpoint": f"0.0.0.0:{bridge.admin}"}, exporter={"sinks": [{"name": "nowhere", "type": "blackhole"}]}
    )
    bridge.start()
    try:
        assert check_health(bridge.port, bridge.admin, "127.0.0.1").stderr == ""
        hidden = check_health(bridge.port, bridge.admin, "127.0.0.2")
        assert (hidden.returncode, "receiver.endpoint cannot be reached" in hidden.stderr) == (1, True)
        other = check_health(bridge.port, free_port(), "127.0.0.1")
        assert (other.returncode, "admin.endpoint does not answer" in other.stderr) == (1, True)
    finally:
        assert bridge.stop() == 0
    gone = check_health(bridge.port, bridge.admin)
    assert gone.returncode == 1


def test_compose_bounds_memory_above_what_the_engine_may_take(settings: Settings) -> None:
    assert all("mem_limit" in service for service in COMPOSE["services"].values())
    (sink,) = settings.exporter.sinks
    engine_bytes = sink.engine.max_memory_bytes  # type: ignore[attr-defined]
    assert size_bytes(COMPOSE["services"]["weighbridge"]["mem_limit"] + "iB") > engine_bytes * 4 / 3 + (512 << 20)


def test_compose_waits_until_a_drain_must_have_ended(settings: Settings) -> None:
    (sink,) = settings.exporter.sinks
    drain_s = sink.engine.drain_s  # type: ignore[attr-defined]
    assert seconds(COMPOSE["services"]["weighbridge"]["stop_grace_period"]) >= drain_s + 20


def test_ports_are_published_on_this_machine_only() -> None:
    published = [mapping for service in COMPOSE["services"].values() for mapping in service["ports"]]
    assert [mapping for mapping in published if not mapping.startswith("127.0.0.1:")] == []


def test_the_collector_configuration_is_complete() -> None:
    """Every part that a pipeline names is defined, every part that is defined is used, and it can be read."""
    collector = COMPOSE["services"]["collector"]
    host_file, inside, _ = collector["volumes"][0].split(":")
    assert (ROOT / host_file).is_file()
    assert collector["command"] == [f"--config={inside}"]
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in COLLECTOR["service"]["pipelines"].values() for name in pipeline[kind]}
        assert used == set(COLLECTOR[kind]), kind
    assert set(COLLECTOR["service"]["pipelines"]) == {"traces", "logs"}
    listening = port(COLLECTOR["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"])
    assert [mapping.split(":")[-1] for mapping in collector["ports"]] == [str(listening)]


def test_images_are_named_with_a_version() -> None:
    assert re.fullmatch(r"otel/opentelemetry-collector:\d+\.\d+\.\d+", COMPOSE["services"]["collector"]["image"])
