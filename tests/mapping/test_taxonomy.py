"""Error buckets, mapping.md §8."""

from __future__ import annotations

import pytest

from mapping.rules import taxonomy


@pytest.mark.parametrize(
    ("status", "bucket"),
    [
        (100, ""),
        (200, ""),
        (304, ""),
        (399, ""),
        (400, "validation"),
        (401, "auth"),
        (402, "quota"),
        (403, "authorization"),
        (404, "not_found"),
        (408, "timeout"),
        (409, "conflict"),
        (410, "not_found"),
        (412, "conflict"),
        (418, "client_error"),
        (422, "validation"),
        (429, "rate_limit"),
        (499, "client_error"),
        (500, "server"),
        (502, "upstream"),
        (503, "upstream"),
        (504, "timeout"),
        (599, "server"),
    ],
)
def test_status_decides_when_there_is_one(status: int, bucket: str) -> None:
    assert taxonomy.error_type(status) == bucket
    assert taxonomy.error_type(status, failed=True, raw="ConnectionError", outgoing=True) == bucket


@pytest.mark.parametrize(
    ("raw", "incoming", "outgoing"),
    [
        ("ReadTimeout", "timeout", "timeout"),
        ("DEADLINE_EXCEEDED", "timeout", "timeout"),
        ("ECONNREFUSED", "network", "network"),
        ("httpx.ConnectError", "network", "network"),
        ("ENOTFOUND", "network", "network"),
        ("ValueError", "server", "network"),
        ("", "server", "network"),
    ],
)
def test_without_a_status_the_error_type_attribute_decides(raw: str, incoming: str, outgoing: str) -> None:
    assert taxonomy.error_type(0, failed=True, raw=raw) == incoming
    assert taxonomy.error_type(0, failed=True, raw=raw, outgoing=True) == outgoing


def test_no_status_and_no_error_is_no_failure() -> None:
    assert taxonomy.error_type(0) == ""


def test_client_and_server_errors_share_only_the_timeout_bucket() -> None:
    """408 and 504 are both timeouts by the table; nothing else is shared."""
    assert set(taxonomy.BY_STATUS[400:500]) & set(taxonomy.BY_STATUS[500:600]) == {"timeout"}
