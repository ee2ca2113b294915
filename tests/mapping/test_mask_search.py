"""One search lets most texts pass: what it does not find, no other look at the text would have found."""

from __future__ import annotations

from json import dumps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.masks.many import LEAST, ManyTexts
from mapping.masks.redactor import Redactor
from mapping.masks.search import NOTHING, as_bytes, searcher
from mapping.masks.settings import MaskSettings
from mapping.masks.shapes import BEGINNINGS, tokens
from mapping.masks.text import BEYOND_KEYS, beyond_keys
from mapping.masks.verdicts import UNSURE

PIECES = st.sampled_from(
    [
        *("sk-", "sk_live_", "rk_test_", "ghp_", "ghs_", "github_pat_", "glpat-", "xoxb-", "AKIA", "ASIA", "AIza"),
        *("eyJ", ".", "SG.", "hf_", "whsec_", "Bearer ", "bEARER +", "basic  ", "BASIC ", "-----BEGIN ", "RSA "),
        *("PRIVATE KEY-----", "A1b2C3d4", "ABCD1234EFGH5678", "abcdefgh1jklmnopqrst", "-", "_", " ", "\\n", "\n", "é"),
        *("--password ", "--Ab\t", "curl ", " -u ", " -pX", " -b ", "%3D", "%253a", "%25252525", "PWD=", "TOKEN=", "="),
        "\ud800",
    ]
)


@given(text=st.lists(PIECES, max_size=9).map("".join))
@settings(max_examples=1000, deadline=None)
def test_what_the_search_does_not_find_no_other_look_finds(text: str) -> None:
    if searcher(BEYOND_KEYS, BEGINNINGS)(as_bytes(text)) == NOTHING:
        assert not beyond_keys(text)
        assert tokens(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("sk-" + 16 * "a", "sk_live_A1b2C3d4", "gho_" + 20 * "1", "github_pat_" + 20 * "1", "glpat-" + 16 * "1"),
        *("xoxb-1234567890", "AKIA" + 16 * "1", "AIza" + 30 * "1", "eyJhbGciOiJI.eyJzdWIiOiJx.", "hf_" + 30 * "1"),
        *("SG." + 16 * "1" + "." + 16 * "1", "whsec_" + 24 * "1", "bEarEr + 12345678", "-----BEGIN PRIVATE KEY-----"),
        *("a --password x", "curl", "x -pX", "x -b y=z", "password%3Dx", "a%25253Ax", "PGPASSWORD=x", "KEY=x"),
    ],
)
def test_every_kind_is_found(text: str) -> None:
    assert searcher(BEYOND_KEYS, BEGINNINGS)(as_bytes("é" + text)) != NOTHING


WORDS = st.sampled_from(
    [
        *("password", "Pass", "Word", "api", "KEY", "key", "secret", "connection", "string", "x", "n", "2", "confirm"),
        *("card", "number", "tokens", "access", "code", "private", "db", "pass", "Authorization", "cookie", "new"),
        *("-", "_", "--", " ", ".", ":", "=", "\\", "é", "\n", "a", "\u212a", "\u0130", "\u017f", "\ud800"),
    ]
)


@pytest.mark.parametrize("of_queries", [False, True])
@given(text=st.lists(WORDS, max_size=9).map("".join))
@settings(max_examples=1000, deadline=None)
def test_keys_are_found_in_texts_as_in_their_words(of_queries: bool, text: str) -> None:
    redactor = Redactor(MaskSettings(keys=("pin2", "x-y_z"), query=("n1",)))
    look = redactor._verdicts["query" if of_queries else "log_body"].mentions
    assert (searcher(look.in_bytes())(as_bytes(text)) != NOTHING) == look.may_be_in(text)


def test_a_long_text_is_searched_for_the_same() -> None:
    verdicts = Redactor(MaskSettings())._verdicts["log_body"]
    other = Redactor(MaskSettings())._verdicts["query"].mentions
    for text in ("a b ", "api key: 1 ", "a --b ", "?code=1 ", "sk-a1b2c3d4e5f6a7b8 password=1 ?code=2 "):
        for seen in (verdicts.seen_in, lambda text: verdicts.seen_in_json(text, other)):
            short, long = seen(text), seen(text * 9000)
            # Of what only a look at its values tells, nothing is said of a long text.
            assert {*(short or ()), UNSURE} == {*(long or ()), UNSURE}


@pytest.mark.parametrize(
    "value", ["a@b", "/a?b%20=1", "/a?b+c", "\\\\u0061", "http:\\/\\/h", "\ufffd", "H4sIx", "eyJ", "eJw", "KLUvx", "-p"]
)
def test_json_that_only_its_values_tell_of_is_not_passed_at_once(value: str) -> None:
    redactor = Redactor(MaskSettings())
    look = redactor._verdicts["log_body"]
    for text in (f'{{"a":"{value}"}}', f'{{"é":"{value}"}}'):
        assert UNSURE in (look.seen_in_json(text, redactor._query.mentions) or ())
    assert UNSURE in (look.seen_in_json('{"body":"abc"}', redactor._query.mentions) or ())
    assert look.seen_in_json('{"a":"b c"}', redactor._query.mentions) == NOTHING


def test_only_two_letters_beyond_ascii_are_ascii_in_lower_case() -> None:
    odd = [letter for letter in map(chr, range(128, 0x110000)) if any(map(str.isascii, letter.lower()))]
    assert odd == ["\u0130", "\u212a"]
    assert [as_bytes(letter).decode() for letter in odd] == [letter.lower() for letter in odd]


def test_a_search_that_gives_up_has_not_found_nothing() -> None:
    """Nothing is [0], the empty pattern; an answer without it, as RE2 gives without memory, is something else."""
    answer: Any = searcher(b"abc")(b"xabcx")
    assert answer == [0, 1]
    assert NOTHING == [0] == searcher(b"abc")(b"")
    assert searcher(b"[^\x00-\xff]")(b"abc") == NOTHING


LINES = st.lists(
    st.lists(
        PIECES
        | WORDS
        | st.sampled_from(
            ["order 12", "data:", ";base64,", "H4sIAAAA", "eyJhIjox", '"', "@", "?code=1", "\\", "{", "["]
        ),
        max_size=5,
    ).map("".join),
    min_size=LEAST,
    max_size=20,
)


@pytest.mark.parametrize("own", [MaskSettings(), MaskSettings(keys=("order", "x-y_z"), query=("n1",), defaults=False)])
@given(texts=LINES, key=WORDS)
@settings(max_examples=500, deadline=None)
def test_of_many_texts_none_is_let_pass_that_would_be_masked_alone(
    own: MaskSettings, texts: list[str], key: str
) -> None:
    redactor = Redactor(own)
    many = ManyTexts(redactor)
    for text, untouched in zip(texts, many.lines_untouched(texts), strict=True):
        assert not untouched or redactor.text(text) == text
    bodies = [dumps({key: text, "note": [text]}, ensure_ascii=False) for text in texts]
    for body, untouched in zip(bodies, many.json_untouched(bodies), strict=True):
        assert not untouched or (
            redactor.leaves_json_as_it_is(body, "log_body") and redactor.leaves_json_as_it_is(body, "attributes")
        )


def test_usual_lines_are_let_pass_together() -> None:
    many = ManyTexts(Redactor(MaskSettings()))
    lines = [f"order {number} accepted in {number % 90} ms" for number in range(100)]
    assert all(many.lines_untouched(lines))
    assert many.lines_untouched([*lines[:8], "key=order", *lines[:7], "token: 8a7b", *lines[:9]]) == [
        *[True] * 8,
        False,  # it is looked at alone, and spoils nothing
        *[True] * 7,
        *[False] * 8,
        *[True] * 2,
    ]
    bodies = [f'{{"message": "{line}", "code": 5}}' for line in lines]
    assert all(many.json_untouched(bodies))
    assert many.json_untouched([*bodies[:8], '{"token": "x"}', *bodies[:8]]) == [*[True] * 8, *[False] * 8, True]
    assert not any(many.json_untouched([body + " " * 4096 for body in bodies]))
    for ask, secret, plain in ((many.lines_untouched, "token: 1", lines), (many.json_untouched, '{"pin": 1}', bodies)):
        assert ask([secret, *plain[:15]] * 2) == 2 * [*[False] * 8, *[True] * 8]
        assert not any(ask([*[secret] * 24, *plain]))  # after so many in vain nobody is asked any more
    for settings_of_all in (MaskSettings(patterns=("email",)), MaskSettings(ip_address="truncate")):
        assert not any(ManyTexts(Redactor(settings_of_all)).lines_untouched(lines))
