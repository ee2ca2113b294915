"""Secrets between the colours that loggers write for a terminal, which stand between a key and its value."""

from __future__ import annotations

import orjson
import pytest

from mapping.masks.mask import MASK
from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings
from mapping.settings import MappingSettings
from mapping_requests import log, logs, mapped

SECRET = "hunter2fake"
E = "\x1b["
# As the loggers themselves write it.
COLOURED = {
    "tracing": f'{E}2m2026-03-02T09:00:00Z{E}0m {E}33m WARN{E}0m {E}2mshop{E}0m{E}2m:{E}0m card declined '
    f'{E}3morder{E}0m{E}2m=17{E}0m {E}3mpassword{E}0m{E}2m={E}0m"{SECRET}"',
    "tracing, a span": f'{E}1mrequest{E}0m{E}1m{{{E}0m{E}3mapi_key{E}0m{E}2m={E}0m{SECRET}{E}1m}}{E}0m{E}2m:{E}0m done',
    "zerolog": f"{E}90m9:00AM{E}0m {E}32mINF{E}0m {E}1mlogin{E}0m {E}36mpassword={E}0m{SECRET}",
    "structlog": f"{E}2m2026-03-02{E}0m [{E}32m{E}1minfo{E}0m] login {E}36mpassword{E}0m={E}35m{SECRET}{E}0m",
    "charm": f"{E}1;38;5;86mINFO{E}0m login {E}2mpassword={E}0m{SECRET}",
    "pino-pretty": f"[09:00:00] {E}32mINFO{E}39m: login\n    {E}35mpassword{E}39m: \"{SECRET}\"",
    "Node's inspect": f"{{ user: {E}32m'ann'{E}39m, password: {E}32m'{SECRET}'{E}39m }}",
    "jq": f'{E}1;39m{{\n  {E}0m{E}34;1m"password"{E}0m{E}1;39m:{E}0m {E}0;32m"{SECRET}"{E}0m{E}1;39m\n}}{E}0m',
    "httpie": f"{E}36mAuthorization{E}39;49;00m: {E}33mBearer {SECRET}{E}39;49;00m",
    "a colon": f"{E}1mpassword{E}0m:{E}33m{SECRET}{E}0m",
    "a command line": f"{E}32mpsql{E}0m {E}33m--password{E}0m {SECRET}",
    "a URL": f"{E}34mhttps://ann:{E}31m{SECRET}{E}34m@db.example.com/{E}0m",
    "syslog": f"#033[36mpassword#033[0m=#033[35m{SECRET}#033[0m",
    "escaped": f"\\x1b[36mpassword\\x1b[0m=\\x1b[35m{SECRET}\\x1b[0m",
}  # fmt: skip


@pytest.mark.parametrize("logger", COLOURED)
def test_a_secret_between_colours_is_hidden(logger: str) -> None:
    line = COLOURED[logger]
    wrapped = orjson.dumps({"log": f"{line}\n", "stream": "stdout"}).decode()
    alone = [log(line), log(wrapped), log("x", {"note": line}), log({"note": line})]
    many = [log(text) for text in (line, "started", "stopped", line, "GET /a", wrapped) for _ in range(2)]
    for records in (*([record] for record in alone), many):
        shown = repr(mapped(logs(*records)).events)
        assert (SECRET not in shown, MASK in shown) == (True, True)


@pytest.mark.parametrize("before", ["", "\x1b[3m", "#033[3m"])
def test_a_key_of_the_settings_is_seen_behind_a_colour(before: str) -> None:
    settings = MappingSettings.model_validate({"masks": {"keys": ["iban"]}})
    for line in (f"{before}iban\x1b[0m=DE00FAKE", f"{before}iban\x1b[0m: DE00FAKE", f"{before}iban=DE00FAKE"):
        assert "FAKE" not in repr(mapped(logs(*(log(line) for _ in range(8))), settings).events), line


def test_a_coloured_line_without_a_secret_is_stored_as_it_came() -> None:
    redactor = Redactor(MaskSettings())
    for line in ("\x1b[32mINF\x1b[0m done \x1b[36mmethod=\x1b[0mGET", "\x1b[1mtoken\x1b[0m count=7", "a\x1b[b", "\x1b"):
        assert redactor.text(line) == line
    nested = "\\x1b" * 3000 + "[0m" * 3000 + " password=x1"  # what is left of colours within colours is not looked for
    assert "x1" not in redactor.text(nested).rpartition(" ")[2]
