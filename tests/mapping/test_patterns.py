"""Values that are hidden by their look."""

from __future__ import annotations

import time

import pytest

from mapping.masks import patterns

ALL = ("email", "pan", "iban", "token")


def hidden(text: str, *names: str) -> str:
    hide = patterns.hider(names)
    assert hide is not None
    return hide(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("email", "ann.o'neil+x@mail.example.test"),
        ("pan", "4111111111111111"),
        ("pan", "4111 1111 1111 1111"),
        ("pan", "3782-822463-10005"),
        ("iban", "DE89370400440532013000"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"),
        ("token", "sk_live_abcdefgh12345678"),
        ("token", "Bearer abcdefgh12345"),
        ("token", "AKIAABCDEFGHIJKLMNOP"),
    ],
)
def test_value_is_hidden_by_its_kind_and_only_when_asked(name: str, text: str) -> None:
    assert hidden(f"see {text} there", name) == "see [REDACTED] there"
    others = tuple(other for other in ALL if other != name)
    assert text.split()[-1] in hidden(f"see {text} there", *others)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "1795193702761657088",
        "order 1234567890123",
        "DE88370400440532013000",
        "a@b",
        "sk_live_x",
        "v1.2.3",
    ],
)
def test_look_alikes_stay(text: str) -> None:
    assert hidden(text, *ALL) == text


def test_words_after_an_iban_stay() -> None:
    assert hidden("to DE89370400440532013000 BY FRIDAY", "iban") == "to [REDACTED] BY FRIDAY"


def test_no_kinds_mean_no_work() -> None:
    assert patterns.hider(()) is None


@pytest.mark.parametrize("unit", ["eyJ", "a.", "a@", "1 ", "DE89", "xoxb-", "bearer ", "1-"])
def test_hostile_text_takes_time_linear_in_its_length(unit: str) -> None:
    """Four times the text may take eight times as long, never sixteen."""

    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        started = time.process_time()
        hidden(text, *ALL)
        return time.process_time() - started

    short, long = (min(seconds(size) for _ in range(3)) for size in (20_000, 80_000))
    assert long < 8 * short + 0.02
