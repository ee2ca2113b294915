"""The image and the compose file agree with the project, as far as can be told without a container engine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Command

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


@pytest.fixture(scope="module")
def settings() -> Settings:
    """The settings that the image runs with."""
    return load_settings(str(ROOT / "config" / Path(environment()["WEIGHBRIDGE_CONFIG"]).name), {})


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


def test_the_python_of_the_image_is_one_that_the_project_accepts() -> None:
    images = {image.split(" ")[0] for image in instructions("FROM")}
    assert len(images) == 1, "build and run time must be the same image: the environment is copied between them"
    version = re.fullmatch(r"python:(3\.\d+)-slim", images.pop())
    lowest = re.fullmatch(r">=(3\.\d+)", PROJECT["requires-python"])
    assert version
    assert lowest
    assert tuple(map(int, version[1].split("."))) >= tuple(map(int, lowest[1].split(".")))


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
    inside = port(settings.receiver.endpoint)
    assert [int(argument) for argument in instructions("EXPOSE")] == [inside]
    assert [mapping.split(":")[-1] for mapping in COMPOSE["services"]["weighbridge"]["ports"]] == [str(inside)]
    exporter = COLLECTOR["exporters"]["otlp_http"]
    assert exporter["endpoint"] == f"http://weighbridge:{inside}"


def test_the_health_check_succeeds_only_while_the_bridge_answers(settings: Settings) -> None:
    """The very command of the image, against an admin port that is there and then is not."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    _, _, command = only("HEALTHCHECK").partition("CMD ")
    program, option, script = yaml.safe_load(command)
    assert program == "python"
    assert settings.admin.endpoint in script

    def check(port: int) -> int:
        here = script.replace(settings.admin.endpoint, f"127.0.0.1:{port}")
        return subprocess.run([sys.executable, option, here], capture_output=True, timeout=30).returncode

    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        bound: int = server.server_address[1]
        assert check(bound) == 0
        server.shutdown()
        thread.join()
    assert check(bound) != 0


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
