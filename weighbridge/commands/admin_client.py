"""Asking the running bridge on its admin endpoint."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from receiver.endpoint import parse_endpoint
from weighbridge.admin import CLIENT_HEADER
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.settings_asked import Asked

if TYPE_CHECKING:
    from weighbridge.settings import Settings

TIMEOUT_S = 30
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy for the web is none for the bridge


def reachable(endpoint: str) -> str:
    """host:port by which this machine reaches a listening endpoint: every interface means this machine too."""
    host, port = parse_endpoint(endpoint)
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_url(settings: Settings) -> str:
    """Where this machine reaches the receiver of these settings."""
    return f"{'https' if settings.receiver.tls else 'http'}://{reachable(settings.receiver.endpoint)}"


def ask(settings: Asked, path: str, *, post: bool = False, **parameters: str) -> Any:
    """The JSON answer. Raises CommandError when no bridge answers, CommandFailed when it refuses."""
    base = f"http://{reachable(settings.admin.endpoint)}"
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    request = urllib.request.Request(  # noqa: S310 http only
        base + path + query,
        method="POST" if post else "GET",
        headers={CLIENT_HEADER: "command line"},
    )
    try:
        with _DIRECT.open(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise CommandFailed(f"the bridge on {base} answers {error.code} to {path}: {_text(error)}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise CommandError(
            f"no bridge answers on {base} ({getattr(reason, 'strerror', None) or reason}); "
            "start one with `make run` or `weighbridge serve`"
        ) from error
    except ValueError as error:
        raise CommandFailed(f"{base}{path} is not a bridge's answer") from error


def _text(error: urllib.error.HTTPError) -> str:
    return error.read(500).decode(errors="replace").strip()
