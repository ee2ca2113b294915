"""Text that is almost structure."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
import pytest

from mapping.masks import command_lines, markup
from mapping.masks import text as mask_text
from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings


def secret(key: str) -> bool:
    return key.lower().lstrip("-") in ("password", "authorization", "cookie", "x-api-key")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"password": "a", "b": 1', '{"password": "[REDACTED]", "b": 1'),
        ("{'password': 'a', 'b': 1}", "{'password': '[REDACTED]', 'b': 1}"),
        ("{'password': None, 'b': 1}", "{'password': '[REDACTED]', 'b': 1}"),
        ('\\"password\\":\\"a\\"}', '\\"password\\":\\"[REDACTED]\\"}'),
        ('"password": "a\\"b" c', '"password": "[REDACTED]" c'),
        ('"password": {"a": "b"} c', '"password": "[REDACTED]"'),
        ('"password": "open', '"password": "[REDACTED]"'),
        ('"user": "a"', '"user": "a"'),
        ('"password" => "a", "b" => 1', '"password" => "[REDACTED]", "b" => 1'),
        ("{b'password': b'a b'}", "{b'password': b'[REDACTED]'}"),
    ],
)
def test_quoted_pairs(text: str, masked: str) -> None:
    assert mask_text.quoted_pairs(text, secret) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("user=a password=b c=d", "user=a password=[REDACTED] c=d"),
        ('password="b c" d', "password=[REDACTED] d"),
        ("x;Password=b;y", "x;Password=[REDACTED];y"),
        ("a=1&password=b&c=d", "a=1&password=[REDACTED]&c=d"),
        ("'password=b'", "'password=[REDACTED]'"),
        ("mypassword=b", "mypassword=b"),
        ("password = b, c = d", "password = [REDACTED], c = d"),
        ("password=Bearer b c", "password=[REDACTED] c"),
        ("args=password=b c", "args=password=[REDACTED] c"),
        ('cmd="run password=b"', 'cmd="run password=[REDACTED]"'),
        ('{\\"a\\": \\"x password=\\\\\\"b c\\\\\\" d\\"', '{\\"a\\": \\"x password=[REDACTED]" d\\"'),
        ("if password == b", "if password == b"),
        ("password := b c", "password := [REDACTED] c"),
        ("password => b c", "password => [REDACTED] c"),
    ],
)
def test_bare_pairs(text: str, masked: str) -> None:
    assert mask_text.bare_pairs(text, secret) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc\r\nHost: h", "Authorization: [REDACTED]\r\nHost: h"),
        ("cookie: a=b; c=d\nHost: h", "cookie: [REDACTED]\nHost: h"),
        ("x-api-key: abc, accept: x", "x-api-key: [REDACTED], accept: x"),
        ("Accept: Bearer abc", "Accept: Bearer abc"),
        ('Authorization: Digest username="u", response="abc" x', "Authorization: [REDACTED] x"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=a/b, Signature=abc x", "Authorization: [REDACTED] x"),
        ("wrong Password: abc", "wrong Password: abc"),
        ("-H 'Authorization:Bearer abc' x", "-H 'Authorization: [REDACTED]' x"),
    ],
)
def test_header_lines(text: str, masked: str) -> None:
    assert mask_text.header_lines(text, secret) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("('password', 'a b')", "('password', '[REDACTED]')"),
        ("[(b'host', b'h'), (b'cookie', b'a'), (1, 2)]", "[(b'host', b'h'), (b'cookie', b'[REDACTED]'), (1, 2)]"),
        ("[[ 'cookie', 'a=1' ]]", "[[ 'cookie', '[REDACTED]' ]]"),
        ("missing ['password', 'email']", "missing ['password', 'email']"),
        ("loc=('body', 'password')", "loc=('body', 'password')"),
        ("(a, 'password', 'b')", "(a, 'password', 'b')"),
    ],
)
def test_tuples(text: str, masked: str) -> None:
    assert mask_text.tuples(text, secret) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("run --password a1 --x b", "run --password [REDACTED] --x b"),
        ("run --password 'a b' c", "run --password '[REDACTED]' c"),
        ("--password is needed", "--password is needed"),
        ("x--password a1", "x--password a1"),
        ("PGPASSWORD=a psql", "PGPASSWORD=[REDACTED] psql"),
        ("export DB_PASSWORD='a b' C=d", "export DB_PASSWORD='[REDACTED]' C=d"),
        ("PASSWORDS=3 PGPASSWORD= x", "PASSWORDS=3 PGPASSWORD= x"),
        ("curl -u ann:a1 http://h:80/", "curl -u ann:[REDACTED] http://h:80/"),
        ('curl --user="ann:a b" http://h', 'curl --user="ann:[REDACTED]" http://h'),
        ("docker run -u 1000:1000 img", "docker run -u 1000:1000 img"),
    ],
)
def test_command_lines(text: str, masked: str) -> None:
    assert command_lines.command_lines(text, secret) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("a%3Db%26password%3Dc%20d%26e%3Df", "a%3Db%26password%3DREDACTED%26e%3Df"),
        ("/x?next=%2Fa%3Fpassword%3Dc&d=e", "/x?next=%2Fa%3Fpassword%3DREDACTED&d=e"),
        ("%7B%22password%22%3A+%22a%5C%22b%22%7D", "%7B%22password%22%3A+%22REDACTED%22%7D"),
        ("%2522password%2522%253A%2522a%2522", "%2522password%2522%253A%2522REDACTED%2522"),
        ("password%3A%2F%2Fh/", "password%3A%2F%2Fh/"),
        ("mypassword%3Da", "mypassword%3Da"),
    ],
)
def test_encoded_pairs(text: str, masked: str) -> None:
    assert mask_text.encoded_pairs(text, secret) == masked


@pytest.mark.parametrize(
    "text",
    [
        "<add key='password' type=\"t\" value=\"a b\"/><input name='q' value='x'>",
        "<input value='a b' name='password'><input name='q' value='x'>",
        "<a name='q' key='password' value='a b'>",
        "name='password' value='a b",
        "name='password' value=\\'a b\\'> name='q'",
    ],
)
def test_value_attributes(text: str) -> None:
    assert markup.value_attributes(text, secret) == text.replace("a b", "[REDACTED]")


def test_a_text_is_cut_before_the_word_that_would_be_halved() -> None:
    limit = mask_text.MAX_TEXT_CHARS
    assert mask_text.cut("a" * limit) == "a" * limit
    assert mask_text.cut("a" * (limit + 1)) == "a" * limit
    assert mask_text.cut("a " * limit) == ("a " * limit)[:limit]
    url = " postgres://ann:hunter2@db"
    assert mask_text.cut("b" * (limit - 100) + url) == "b" * (limit - 100) + url
    assert mask_text.cut("b" * (limit - 21) + url) == "b" * (limit - 21) + " "


def test_xml_elements() -> None:
    assert markup.xml_elements("<a><n:Password t='1'>x</n:Password><b>y</b></a>", secret) == (
        "<a><n:Password t='1'>[REDACTED]</n:Password><b>y</b></a>"
    )


def test_passwords_in_urls() -> None:
    assert (
        mask_text.passwords_in_urls("postgres://ann:pw@db/x http://h:80/")
        == "postgres://ann:[REDACTED]@db/x http://h:80/"
    )


@pytest.mark.parametrize(
    "unit",
    [
        "'a",
        '"password":',
        "\\",
        "a=",
        "a.",
        "password=",
        "<a ",
        "://a:",
        "a: ",
        "cookie: a;",
        "'password':\\'",
        "&a=b",
        "a-",
        "password:",
        'name="password"\n',
        "<password><![CDATA[",
        "('password','",
        "['password', \"a",
        "a password: ",
        "--password ",
        "--password '",
        "curl -u a:",
        "PASSWORD",
        "A=PASSWORD=",
        "password%3D",
        "%25",
        "%22password%22%3A%22",
        "<a name='password' value=",
    ],
)
def test_hostile_text_takes_time_linear_in_its_length(unit: str) -> None:
    """Four times the text may take eight times as long, never sixteen."""

    def seconds(text: str) -> float:
        started = time.process_time()
        for step in (
            mask_text.quoted_pairs,
            mask_text.bare_pairs,
            mask_text.colon_pairs,
            markup.form_parts,
            mask_text.header_lines,
            markup.xml_elements,
            mask_text.tuples,
            command_lines.command_lines,
            mask_text.encoded_pairs,
            markup.value_attributes,
        ):
            step(text, secret)
        mask_text.passwords_in_urls(text)
        mask_text.is_form(text)
        mask_text.may_hide_secrets(text)
        mask_text.beyond_keys(text)
        return time.process_time() - started

    short = min(seconds(unit * (20_000 // len(unit))) for _ in range(3))
    long = min(seconds(unit * (80_000 // len(unit))) for _ in range(3))
    assert long < 8 * short + 0.02


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('login(password: "a b") { id }', "login(password: [REDACTED]) { id }"),
        ("login(password:\\'a\\', x:1)", "login(password:[REDACTED], x:1)"),
        ("map[password:a user:b]", "map[password:[REDACTED] user:b]"),
        ("{User:b Authorization:Bearer a}", "{User:b Authorization:[REDACTED]}"),
        ("a: 1\n  - password: b c\nd: 2", "a: 1\n  - password: [REDACTED]\nd: 2"),
        ("the password: forgotten", "the password: forgotten"),
        ("wrong password: hunter2, again", "wrong password: [REDACTED], again"),
        ("error: the password is: Ab1 now", "error: the password is: [REDACTED] now"),
        ("saw password: }", "saw password: }"),
        ("no password: NOT_SET (yet)", "no password: NOT_SET (yet)"),
        ("password:=a", "password:=a"),
        ("password:[REDACTED]", "password:[REDACTED]"),
        ("http://password:80/ password://x x:password:y", "http://password:80/ password://x x:password:y"),
    ],
)
def test_colon_pairs(text: str, masked: str) -> None:
    assert mask_text.colon_pairs(text, secret) == masked


@pytest.mark.parametrize("text", ['username="ann" password=b', 'name="" password=b', 'name=\\"'])
def test_what_only_looks_like_a_part_of_a_form_stays(text: str) -> None:
    assert markup.form_parts(text, secret) == text


def test_form_parts() -> None:
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\nContent-Type: text/plain\r\n\r\n{}\r\n'
    text = part.format("user", "ann") + part.format("password", "a\r\nb") + "--b--\r\n"
    assert markup.form_parts(text, secret) == text.replace("a\r\nb", "[REDACTED]")


@pytest.mark.parametrize("escaped", [repr, lambda text: orjson.dumps(text).decode()])
def test_form_parts_in_escaped_text(escaped: Callable[[str], str]) -> None:
    text = escaped('--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nabc\r\n--b--\r\n')
    assert markup.form_parts(text, secret) == text.replace("abc", "[REDACTED]")


@pytest.mark.parametrize(
    "text",
    [
        "password -> hunter2fake",
        "API_KEY -> hunter2fake",
        "token->hunter2fake9",
        "db_password \u2192 hunter2fake",
        "net use /password:hunter2fake",
        "/password:hunter2fake",
        "BeArEr hunter2fake99",
        "Incorrect API key provided: sk-proj-hunter2fakeABCD1234. You can find yours",
        "Incorrect API key provided: hunter2fake*****ABCD.",
        "invalid x-api-key: sk-ant-***hunter2fake",
    ],
)
def test_arrows_slashes_and_sentences_of_providers_hide_secrets(text: str) -> None:
    masks = Redactor(MaskSettings())
    assert "hunter2fake" not in masks.text(text)
    assert "hunter2fake" not in str(masks.attributes({"note": text}))
    for more in ("GET -> 200", "a -> b", "see /token/list: ok", "password policy -> strict? no"):
        assert masks.text(more) == more or "policy" in more


def test_the_password_of_a_remote_desktop_is_hidden_beside_its_user() -> None:
    masks = Redactor(MaskSettings())
    shown = masks.value("process.command_args", ["xfreerdp", "/u:ann", "/p:hunter2fake"])
    assert shown == ["xfreerdp", "/u:ann", "/p:[REDACTED]"]
    kept = ["msbuild", "/p:Configuration=Release"]
    assert masks.value("process.command_args", kept) == kept


def test_a_line_that_repeats_is_hidden_every_time_whatever_came_between() -> None:
    redactor = Redactor(MaskSettings())
    lines = [f"login of {number}: password=hunter{number}" for number in range(3000)]  # more than are remembered
    first = [redactor.text(line) for line in lines]
    assert [redactor.text(line) for line in reversed(lines)] == first[::-1]
    assert not any("hunter" in line for line in first)
