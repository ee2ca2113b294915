"""Access logs in plain text are calls: nginx, Apache, Caddy, Traefik and others in common and combined format."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from mapping.dialects.lines import LONGEST_LINE, Lines, compile_format
from mapping.dialects.table import Vocabulary, builtin
from mapping.event import API_CALL, LOG, Event
from mapping.settings import MappingSettings
from mapping_requests import log, logs, mapped

WHEN = "[02/Mar/2026:09:00:00 +0000]"
AT = 1_772_442_000_000_000_000
AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/131"


def event_of(line: str, settings: MappingSettings | None = None, resource: dict[str, Any] | None = None) -> Event:
    (event,) = mapped(logs(log(line, time_unix_nano=0), resource=resource or {}), settings).events
    return event


LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "common": (f'203.0.113.7 - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512', {"user_id": "ann"}),
    "combined": (
        f'203.0.113.7 - - {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "https://shop.example/" "{AGENT}"',
        {"user_id": "", "user_agent": AGENT},
    ),
    "nginx in a container": (
        f'10.0.0.4 - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/2.0" 200 512 "-" "{AGENT}" "203.0.113.7, 10.0.0.4"',
        {"user_id": "ann", "user_agent": AGENT},
    ),
    "Ingress NGINX": (
        f'203.0.113.7 - - {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "{AGENT}" 1080 0.125 '
        "[shop-orders-80] [] 10.42.0.7:8080 512 0.124 200 4b2d9b3cf6f4f0b1",
        {"duration_ms": 125.0, "user_agent": AGENT},
    ),
    "Apache with hosts": (
        f'shop.example:443 203.0.113.7 - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "{AGENT}"',
        {"user_id": "ann"},
    ),
    "Traefik": (
        f'203.0.113.7 - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "{AGENT}" 42 "shop@docker" '
        '"http://172.18.0.3:80" 125ms',
        {"user_id": "ann", "duration_ms": 125.0},
    ),
    "old Ingress NGINX": (
        f'203.0.113.7 - [203.0.113.7] - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "{AGENT}" 1080 '
        "0.125 [shop-orders-80] 10.42.0.7:8080 512 0.124 200 x",
        {"user_id": "ann", "duration_ms": 125.0},
    ),
    "nginx with names of servers": (
        f'shop.example 203.0.113.7 - ann {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "{AGENT}" "2.1"',
        {"user_id": "ann", "uri": "http://shop.example/v1/orders/17?page=2"},
    ),
    "more behind it": (
        f'203.0.113.7 - - {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 2 "-" "curl/8" tracecontext="-" took="0.003"',
        {"user_agent": "curl/8"},
    ),
    "a quote in the agent": (
        f'203.0.113.7 - - {WHEN} "GET /v1/orders/17?page=2 HTTP/1.1" 200 512 "-" "a \\"b\\" c"',
        {"user_agent": 'a \\"b\\" c'},
    ),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_line_is_a_call(kind: str) -> None:
    line, told = LINES[kind]
    event = event_of(line)
    assert event.event_type == API_CALL
    assert (event.verb, event.status, event.ip_address) == ("GET", 200, "203.0.113.7")
    assert event.uri.endswith("/v1/orders/17?page=2")
    assert event.route == "/v1/orders/{id}"
    assert event.end_unix_ns == AT
    assert {name: getattr(event, name) for name in told} == told


def test_failures_and_other_methods_count_too() -> None:
    event = event_of(f'2001:db8::7 - - {WHEN} "POST /charge HTTP/1.1" 503 0')
    assert (event.verb, event.status, event.error_type, event.ip_address) == ("POST", 503, "upstream", "2001:db8::7")


@pytest.mark.parametrize(
    "line",
    [
        f'203.0.113.7 - - {WHEN} "-" 400 0 "-" "-"',
        f'203.0.113.7 - - {WHEN} "\\x16\\x03\\x01" 400 157 "-" "-"',
        f'203.0.113.7 - - {WHEN} "GET /a HTTP/1.1" 999 1',
        f'203.0.113.7 - - {WHEN} "EAT /a HTTP/1.1" 200 1',
        'he said "GET /a HTTP/1.1" 200 times',
        'order 17 accepted "fast" 200',
        "",
    ],
)
def test_other_lines_are_logs(line: str) -> None:
    event = event_of(line)
    assert (event.event_type, event.body) == (LOG, line)
    assert (event.user_id, event.status) == ("", 0)


def test_a_server_with_an_sdk_tells_its_calls_in_spans() -> None:
    line = LINES["combined"][0]
    assert event_of(line, resource={"telemetry.sdk.name": "opentelemetry"}).event_type == LOG


def test_secrets_of_a_line_are_hidden() -> None:
    line = (
        f'203.0.113.7 - - {WHEN} "GET /a?token=hunter2fake&x=1 HTTP/1.1" 200 5 "https://e.example/?key=hunter3fake" "x"'
    )
    event = event_of(line)
    assert event.event_type == API_CALL
    assert "hunter" not in repr(event)


def test_a_team_writes_a_format_of_its_own() -> None:
    settings = MappingSettings.model_validate(
        {
            "dialects": {
                "edge": {
                    "title": "Edge",
                    "logs": {
                        "lines": '$when $customer "$request" $status ${took}us',
                        "known_by": [{"keys": ["customer", "took"]}],
                        "request_line": "request",
                        "status": "status",
                        "user": "customer",
                        "duration": {"took": "us"},
                    },
                }
            }
        }
    )
    event = event_of('2026-03-02T09:00:00Z ann "GET /a HTTP/1.1" 204 1500us and more', settings)
    assert (event.event_type, event.verb, event.status, event.user_id, event.duration_ms) == (
        API_CALL,
        "GET",
        204,
        "ann",
        1.5,
    )


def test_a_format_of_ones_own_needs_no_quotes() -> None:
    """nginx formats from public questions: fields between bars, the request without quotes."""
    logs_of = {
        "lines": "[$time_local] $remote_addr -> $upstream_addr | $scheme $request | rt: ${took}ms | status: $status",
        "known_by": [{"keys": ["took", "upstream_addr"]}],
        "request_line": "request",
        "status": "status",
        "scheme": "scheme",
        "ip": "remote_addr",
        "duration": {"took": "ms"},
    }
    settings = MappingSettings.model_validate({"dialects": {"bars": {"title": "Bars", "logs": logs_of}}})
    event = event_of(
        f"{WHEN} 203.0.113.7 -> 127.0.0.1 | https POST /api/post HTTP/1.1 | rt: 16ms | status: 200", settings
    )
    assert (event.event_type, event.verb, event.status, event.duration_ms) == (API_CALL, "POST", 200, 16.0)
    assert (event.ip_address, event.uri[:8]) == ("203.0.113.7", "https://")


@pytest.mark.parametrize(
    "wrong", ["$a $b", '"$request"', "$a $status", '$a$b "$request" $status', '$status "$request" $status']
)
def test_a_format_that_says_too_little_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="format"):
        Vocabulary.model_validate({"lines": wrong})


def test_every_line_takes_time_in_proportion_to_its_length() -> None:
    lines = Lines(line for dialect in builtin().values() for line in dialect.logs.lines)

    def seconds(size: int) -> float:
        hostile = [
            "a " * size + '" ',
            f"1 - - {WHEN} " + '"' + "\\" * size + '" ',
            f'1 - - {WHEN} "GET /' + "a" * (2 * size) + ' HTTP/1.1" 200 1 "' + '\\"' * size,
            f'1 - - {WHEN} "GET / HTTP/1.1" 200 1 "-" "' + "a" * (2 * size),
            "[" * size + '" ' + "]" * size,
        ]
        best = 9e9
        for _ in range(5):
            started = time.process_time()
            for text in hostile:
                lines.read(text)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(LONGEST_LINE // 4) < 16 * seconds(LONGEST_LINE // 16) + 0.001


def test_a_line_beyond_its_bound_is_a_log() -> None:
    assert Lines(['$a "$request" $status']).read('1 "GET /a HTTP/1.1" 200 ' + "x" * LONGEST_LINE) is None
    assert compile_format('$a "$request" $status').match('1 "GET /a HTTP/1.1" 200 x') is not None
