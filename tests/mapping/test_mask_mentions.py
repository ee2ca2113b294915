"""The quick look that lets most texts pass unsearched is never wrong in the direction that leaks."""

from __future__ import annotations

import itertools
import string
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.logs.record import flatten
from mapping.masks.mentions import Mentions
from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskRule, MaskSettings

RULES = (
    MaskSettings(),
    MaskSettings(keys=("pin code", "Kennwörter", "x"), drop_attributes=("app.*.notes", "deb?g", "internal.dump")),
    MaskSettings(rules=(MaskRule(keys=("a.b[*].c", "iban"), action="remove"),), ip_address="truncate"),
)
PIECES = st.sampled_from(
    [
        *("password", "Pass-Word", "access_token", "accessToken", "api.key", "x-api-key", "COOKIE", "authorization"),
        *(
            "pin code",
            "Kennwörter",
            "x",
            "app.a.notes",
            "debug",
            "internal.dump",
            "c",
            "b",
            "iban",
            "prompt",
            "context",
        ),
        *("gen_ai.prompt.0", "text", "result", "name", "value", "key", "client.address", "ip", "\\u0070assword"),
        *(
            '"',
            "'",
            '\\"',
            "\\'",
            "=",
            ":",
            ": ",
            ":\t",
            ",",
            "{",
            "}",
            "[",
            "]",
            " ",
            "\n",
            "\\n",
            "\\t",
            ".",
            "-",
            "_",
        ),
        *("?", "?token=1&b=2", "?a=1&si%67=3", "?pin+code=3", "&", "1", "postgres://u:p@h", "null", "K", "ſ", "İ"),
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers(-9, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


class SearchesAll(Mentions):
    """Looks into every text, as if there were no quick look."""

    def in_text(self, text: str, *, json: bool) -> bool:
        return True


def thorough(rules: MaskSettings) -> Redactor:
    redactor = Redactor(rules)
    for verdicts in redactor._verdicts.values():
        verdicts.mentioned_in = SearchesAll((), ()).in_text
        verdicts.seek = verdicts._seek_in_json = lambda raw: None  # all may be there
    return redactor


QUICK = [Redactor(rules) for rules in RULES]
THOROUGH = [thorough(rules) for rules in RULES]


@pytest.mark.parametrize("rules", range(len(RULES)))
@given(text=TEXTS)
@settings(max_examples=150, deadline=None)
def test_texts_that_pass_unsearched_would_not_have_changed(rules: int, text: str) -> None:
    assert QUICK[rules].text(text) == THOROUGH[rules].text(text)


@pytest.mark.parametrize("rules", range(len(RULES)))
@given(value=st.dictionaries(TEXTS, VALUES, max_size=4), escaped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_bodies_that_pass_unsearched_would_not_have_changed(rules: int, value: object, escaped: bool) -> None:
    text = orjson.dumps(value, default=str).decode()
    if escaped:
        text = text.replace("/", "\\/").encode("ascii", "backslashreplace").decode()
    assert QUICK[rules].text(text) == THOROUGH[rules].text(text)


@pytest.mark.parametrize("rules", range(len(RULES)))
@given(value=st.dictionaries(TEXTS, VALUES, max_size=4), escaped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_that_is_left_as_it_is_would_not_have_changed(rules: int, value: dict[str, object], escaped: bool) -> None:
    text = orjson.dumps(value).decode()
    if escaped:
        text = text.replace("/", "\\/").encode("ascii", "backslashreplace").decode()
    if QUICK[rules].leaves_json_as_it_is(text, "log_body"):
        assert THOROUGH[rules].log_body(value) == value
    if QUICK[rules].leaves_json_as_it_is(text, "attributes"):
        flat = flatten(value)
        assert THOROUGH[rules].attributes(flat) == flat


FORMS = ('{{"{}": "hunter2x"}}', "{}=hunter2x", "{}: hunter2x", 'say "{}":"hunter2x" now', '("{}", "hunter2x")')


@pytest.mark.parametrize("rules", range(len(RULES)))
@pytest.mark.parametrize("first", [*string.punctuation, " ", "\n", "\u00e9"])
def test_whatever_follows_a_masked_word_in_a_key_is_seen(rules: int, first: str) -> None:
    """`password.,new`, `password .x`, `password [0]`: the word is a part of the key's path all the same."""
    quick, thorough = QUICK[rules], THOROUGH[rules]
    for second, end in itertools.product(("", *string.punctuation, " "), ("", "x y")):
        key = f"a.password{first}{second}{end}"
        value = {key: "hunter2x"}
        if quick.leaves_json_as_it_is(orjson.dumps(value).decode(), "log_body"):
            assert thorough.log_body(value) == value
        for form in FORMS:
            text = form.format(key)
            assert quick.text(text) == thorough.text(text)


def test_masked_words_inside_other_words_do_not_cost_a_search() -> None:
    look = Mentions({"ssn", "text", "token"}, ()).in_text
    assert not look("class_name: 1", json=False)
    assert not look('{"context": "tokens", "classname": 2}', json=True)
    assert look("class-name ssn=2", json=False)
    assert look('["token", "x"]', json=True)


def test_looking_takes_time_linear_in_the_text() -> None:
    redactor = Redactor(MaskSettings())

    def spent(size: int) -> float:
        text = ("token" * size)[: 5 * size] + ": x"
        start = time.process_time()
        redactor.text(text)
        return time.process_time() - start

    small = min(spent(4_000) for _ in range(3))
    assert min(spent(40_000) for _ in range(3)) < 30 * small + 0.01


def test_a_secret_that_begins_an_escaped_line_is_hidden() -> None:
    redactor = Redactor(MaskSettings())
    assert "hunter2" not in redactor.text(r"env:\npassword=hunter2\nuser=bo")
    assert "hunter2" not in redactor.text(r"b'GET / HTTP/1.1\r\nAuthorization: Bearer hunter2\r\n'")
    assert redactor.text(r"C:\nsecret=1").endswith("=[REDACTED]")
    assert redactor.text(r"x nsecret=1") == "x nsecret=1"
