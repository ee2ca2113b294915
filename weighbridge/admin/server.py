"""The operator's port: is it alive, is it ready, what has it counted. Plain HTTP, for loopback or a private network.

Every request passes `weighbridge.admin.door` first. The assembly supplies what is known (`HealthSource`) and may add
routes, such as queries for the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from receiver.endpoint import parse_endpoint
from weighbridge.admin.door import Door
from weighbridge.admin.settings import AdminSettings as AdminSettings


class Metric(NamedTuple):
    """One name of /metrics with all its values."""

    name: str  # ends in its unit, and in _total for a counter
    kind: Literal["counter", "gauge"]
    help: str
    samples: Iterable[tuple[Mapping[str, str], float]]  # labels -> value
    unit: str = ""  # as UCUM has it; only OTLP tells it


class HealthSource(Protocol):
    """What the assembly knows about itself. All are called on the event loop and return at once."""

    async def refresh(self) -> None:
        """Ask other processes of ours, before the others are called; returns within a second, answered or not."""
        ...

    def not_ready(self) -> list[str]:
        """Why requests cannot be taken in now, one readable line each; empty when they can."""
        ...

    def facts(self) -> dict[str, Any]:
        """What /readyz says beside that, for people and probes."""
        ...

    def metrics(self) -> Iterable[Metric]: ...


class Admin:
    """The admin port, being served on `port`."""

    def __init__(self, port: int, runner: web.AppRunner) -> None:
        self.port = port
        self._runner = runner

    @classmethod
    async def start(
        cls,
        settings: AdminSettings,
        health: HealthSource,
        routes: Iterable[web.AbstractRouteDef] = (),
        entrance: Middleware | None = None,
    ) -> Admin:
        """entrance: who may ask, told after the door. Raises OSError when the port cannot be used."""
        host, port = parse_endpoint(settings.endpoint)
        door = Door((host, *settings.allowed_hosts))
        runner = web.AppRunner(
            create_admin_app(health, routes, door, entrance), access_log=None, keepalive_timeout=30.0
        )
        await runner.setup()
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        return cls(site.port, runner)

    async def stop(self) -> None:
        await self._runner.cleanup()


def create_admin_app(
    health: HealthSource,
    routes: Iterable[web.AbstractRouteDef] = (),
    door: Door | None = None,
    entrance: Middleware | None = None,
) -> web.Application:
    """/healthz says that the event loop turns, /readyz that requests are taken in, /metrics what was counted."""

    async def healthz(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        await health.refresh()
        reasons = health.not_ready()
        if reasons:
            return web.json_response({"status": "not ready", "reasons": reasons, **health.facts()}, status=503)
        return web.json_response({"status": "ready", **health.facts()})

    async def metrics(request: web.Request) -> web.Response:
        await health.refresh()
        return web.Response(
            body=exposition(health.metrics()).encode(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    app = web.Application(middlewares=[(door or Door()).middleware, *([entrance] if entrance else [])])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    app.router.add_routes(routes)
    return app


def exposition(metrics: Iterable[Metric]) -> str:
    """Prometheus' text format, version 0.0.4.

    By hand: it is these ten lines, where prometheus_client would need an object a sample and write 7 as 7.0.
    """
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for labels, value in metric.samples:
            inside = ",".join(f'{name}="{_escape_value(text)}"' for name, text in labels.items())
            lines.append(f"{metric.name}{{{inside}}} {value:.17g}" if inside else f"{metric.name} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _escape_value(text: str) -> str:
    return _escape(text).replace('"', '\\"')
