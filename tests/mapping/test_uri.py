"""URIs, spec/mapping.md §3.2 U1 to U6."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import uri

HOST = "shop.example.test"


@pytest.mark.parametrize(
    ("full", "text"),
    [
        ("http://h.test/a?b=1", "http://h.test/a?b=1"),
        ("HTTPS://h.test:443/a", "https://h.test/a"),
        ("http://h.test:80", "http://h.test/"),
        ("http://h.test:8080?x=1", "http://h.test:8080/?x=1"),
        ("http://user:p@ss@h.test/a#frag?x=1", "http://h.test/a"),
        ("http://[2001:db8::1]:8080/a", "http://[2001:db8::1]:8080/a"),
        ("http://h.test/caf\u00e9 bar/100%/%2f", "http://h.test/caf%C3%A9%20bar/100%25/%2f"),
        ('http://h.test/{a}|"b"<c>\\^`', "http://h.test/{a}|%22b%22%3Cc%3E%5C%5E%60"),
    ],
)
def test_full_url_is_cleaned_and_kept(full: str, text: str) -> None:
    assert uri.resolve(full=full).text == text


def test_scheme_relative_url_takes_the_scheme_attribute() -> None:
    assert uri.resolve(full="//h.test/a", scheme="https").text == "https://h.test/a"
    assert uri.resolve(full="//h.test/a").text == "http://h.test/a"


def test_full_url_without_a_host_is_a_request_target() -> None:
    assert uri.resolve(full="/a?b=1", host="h.test").text == "http://h.test/a?b=1"


def test_absolute_request_target_is_the_full_url() -> None:
    assert uri.resolve(target="http://proxy.test/a?b=1", host="h.test").text == "http://proxy.test/a?b=1"


@pytest.mark.parametrize(
    ("given_host", "port", "scheme", "authority"),
    [
        ("h.test", 8000, "", "http://h.test:8000"),
        ("h.test", "8000", "http", "http://h.test:8000"),
        ("h.test", 443, "", "https://h.test"),
        ("h.test", 80, "http", "http://h.test"),
        ("h.test", 80, "https", "https://h.test:80"),
        ("127.0.0.1:8000", 8000, "http", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", 9999, "http", "http://127.0.0.1:8000"),
        ("::1", 8000, "http", "http://[::1]:8000"),
        ("[::1]:8000", None, "http", "http://[::1]:8000"),
        ("2001:db8::1", None, "", "http://[2001:db8::1]"),
        ("user:secret@h.test", None, "", "http://h.test"),
        ("h.test", "http", "no scheme!", "http://h.test"),
    ],
)
def test_composed_host_and_port(given_host: str, port: object, scheme: str, authority: str) -> None:
    assert uri.resolve(host=given_host, port=port, scheme=scheme, path="/a").text == f"{authority}/a"


def test_host_header_without_a_port_means_the_default_port() -> None:
    assert uri.resolve(host="h.test", port=8000, host_is_header=True, path="/a").text == "http://h.test/a"


def test_missing_host_is_the_service_name_and_says_so() -> None:
    found = uri.resolve(path="/a", service="order svc/1")
    assert (found.text, found.host_guessed) == ("http://order%20svc%2F1/a", True)
    assert uri.resolve(path="/a").text == "http://unknown/a"


def test_query_of_undici_loses_its_question_mark() -> None:
    assert uri.resolve(host=HOST, path="/a", query="?v=1").text == "http://shop.example.test/a?v=1"
    assert uri.resolve(host=HOST, path="/a", query="?").text == "http://shop.example.test/a"


def test_path_attribute_wins_over_the_target_and_the_target_adds_the_query() -> None:
    assert uri.resolve(host=HOST, path="/a", target="/b?x=1").text == "http://shop.example.test/a?x=1"


def test_without_any_path_the_route_stands_in_and_says_so() -> None:
    found = uri.resolve(host=HOST, route="/products/{pid}")
    assert (found.text, found.from_route) == ("http://shop.example.test/products/{pid}", True)
    assert uri.resolve(host=HOST).text == "http://shop.example.test/"


def test_secret_in_a_query_that_was_put_into_the_path_reaches_the_mask() -> None:
    found = uri.resolve(host=HOST, path="/a?token=x", mask=lambda query: query.replace("x", "REDACTED"))
    assert found.text == "http://shop.example.test/a?token=REDACTED"


def test_identity_sees_the_query_before_masking() -> None:
    found = uri.resolve(full="http://h.test/a?key=v", mask=lambda _: "key=REDACTED")
    assert (found.text, found.query) == ("http://h.test/a?key=REDACTED", "key=v")


def test_query_keeps_500_parameters() -> None:
    found = uri.resolve(host=HOST, path="/a", query="&".join(f"p{i}=1" for i in range(503)))
    assert found.query_params_dropped == 3
    assert found.query.endswith("&p499=1")
    assert uri.resolve(host=HOST, query="&".join(["p"] * 500)).query_params_dropped == 0


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"host": "public.test"}, "http://public.test/a"),
        ({"host": "public.test", "x-forwarded-proto": "https"}, "https://public.test/a"),
        ({"x-forwarded-proto": "https, http"}, "https://10.0.0.5/a"),
        ({"x-forwarded-proto": "http"}, "http://10.0.0.5:8000/a"),
        ({"x-forwarded-host": "edge.test, inner.test", "host": "public.test"}, "http://edge.test/a"),
        (
            {
                "forwarded": 'for=192.0.2.60;proto=https;host="a.test:8443", for=b',
                "x-forwarded-host": "b.test",
            },
            "https://a.test:8443/a",
        ),
        ({":authority": "h2.test:443", "x-forwarded-proto": "https"}, "https://h2.test/a"),
        ({"host": "bad host/<script>", "x-forwarded-proto": "javascript"}, "http://10.0.0.5:8000/a"),
    ],
)
def test_public_origin_of_captured_headers_wins(headers: dict[str, str], text: str) -> None:
    origin = uri.public_origin(headers)
    assert uri.resolve(full="http://10.0.0.5:8000/a", origin=origin).text == text
    assert uri.resolve(host="10.0.0.5", port=8000, path="/a", origin=origin).text == text


def test_host_that_headers_name_is_not_guessed() -> None:
    found = uri.resolve(path="/a", service="svc", origin=uri.Origin("", "public.test"))
    assert (found.text, found.host_guessed) == ("http://public.test/a", False)


PARTS = st.text(max_size=40)
LEGAL = re.compile(r"[!#-;=?-\[\]_a-z{|}~]*")


@given(PARTS, PARTS, PARTS, PARTS, PARTS, st.sampled_from(["", "http", "https", "x y"]))
def test_result_is_clean_whatever_the_sender_wrote(
    full: str, target: str, host: str, path: str, query: str, scheme: str
) -> None:
    found = uri.resolve(full=full, target=target, host=host, path=path, query=query, scheme=scheme)
    assert LEGAL.fullmatch(found.text)
    assert "#" not in found.text
    assert re.match(r"[a-z][a-z0-9+.\-]*://[^/]+/", found.text)
    assert not re.search(r"%(?![0-9A-Fa-f]{2})", found.text)


@given(PARTS)
def test_encoding_twice_changes_nothing(text: str) -> None:
    assert uri.encode(uri.encode(text)) == uri.encode(text)


@given(st.text(alphabet=string.ascii_letters, min_size=1), st.text(max_size=20))
def test_user_name_and_password_never_survive(user: str, secret: str) -> None:
    found = uri.resolve(full=f"http://{user}:{secret.translate(dict.fromkeys(map(ord, '/?#')))}@h.test/a")
    assert found.text == "http://h.test/a"
