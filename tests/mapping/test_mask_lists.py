"""In lists of texts the item before says what an item is: options and their values, names of headers and theirs."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings

SECRET = "SEC-1f2e3d"
DEFAULT = Redactor(MaskSettings())

LISTS: list[list[Any]] = [
    ["app", "--password", SECRET],
    ["app", "--api_key", SECRET, "--verbose"],
    ["app", "-password", SECRET],
    ["app", f"--db-password={SECRET}"],
    ["java", f"-Dspring.datasource.password={SECRET}", "-jar", "app.jar"],
    ["curl", "-u", f"ann:{SECRET}", "https://h/a"],
    ["curl", "--user", f"ann:{SECRET}"],
    ["curl", "-H", f"Authorization: Bearer {SECRET}"],
    ["curl", f"--header=Cookie: sid={SECRET}"],
    ["docker", "login", "-u", "ann", "-p", SECRET],
    ["mysql", "-uroot", f"-p{SECRET}"],
    ["/usr/bin/redis-cli", "-a", SECRET],
    [f"DB_PASSWORD={SECRET}", "HOME=/root"],
    ["Host", "h", "Authorization", f"Bearer {SECRET}", "Cookie", SECRET],
    ["Authorization", f"Bearer {SECRET}"],
    [["Host", "h"], ["Authorization", SECRET], ["Set-Cookie", [SECRET]]],
    [{"name": "DB_PASSWORD", "value": SECRET}],
    [{"Name": "DB_PASSWORD", "Value": SECRET}],
    [{"header": "Cookie", "value": SECRET}],
    [{"key": "token", "value": {"stringValue": SECRET}}],
]
HARMLESS: list[list[Any]] = [
    ["mkdir", "-p", "dir"],
    ["docker", "run", "-p", "8080:80", "--user", "1000:1000", "img"],
    ["nc", "-p", "8080"],
    ["missing", "password", "email"],
    ["Authorization", "Cookie"],
    ["curl", "-u", "ann", "https://h/a"],
    ["app", "--token-count", "5", "--max-tokens", "10"],
    ["Host", "h", "Accept", "*/*"],
    [{"name": "LOG_LEVEL", "value": "debug"}, {"name": "secret", "value": True}],
    ["", ""],
    [1, 2, None],
]


@pytest.mark.parametrize("items", LISTS, ids=str)
def test_an_item_behind_the_name_of_a_secret_is_hidden(items: list[Any]) -> None:
    text = orjson.dumps({"argv": items}).decode()
    shown = DEFAULT.value("process.command_args", items), DEFAULT.log_body({"argv": items}), DEFAULT.text(text)
    assert [part for part in map(str, shown) if SECRET in part] == []
    assert "REDACTED" in str(shown[0])
    assert not DEFAULT.leaves_json_as_it_is(text, "log_body")


@pytest.mark.parametrize("items", HARMLESS, ids=str)
def test_other_lists_stay(items: list[Any]) -> None:
    assert DEFAULT.value("process.command_args", items) == items


def test_what_is_no_secret_of_an_item_stays_visible() -> None:
    assert DEFAULT.value("argv", ["curl", "-u", "ann:x1"]) == ["curl", "-u", "ann:[REDACTED]"]
    assert DEFAULT.value("argv", ["mysql", "-px1"]) == ["mysql", "-p[REDACTED]"]
