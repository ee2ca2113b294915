"""Error buckets, spec/mapping.md §8."""

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
        (460, "cancelled"),
        (499, "cancelled"),
        (500, "server"),
        (502, "upstream"),
        (503, "upstream"),
        (504, "timeout"),
        (524, "timeout"),
        (529, "upstream"),
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
        ("ValueError", "server", "server"),
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


@pytest.mark.parametrize(
    ("bucket", "names"),
    [
        (
            "timeout",
            "ETIMEDOUT ESOCKETTIMEDOUT Errno::ETIMEDOUT TimedOut CURLE_OPERATION_TIMEDOUT UND_ERR_HEADERS_TIMEOUT "
            "java.net.SocketTimeoutException Net::ReadTimeout APITimeoutError context.deadlineExceededError "
            "psycopg.errors.QueryCanceled io.netty.handler.timeout.ReadTimeoutException 504 408 57014",
        ),
        (
            "rate_limit",
            "RateLimitError openai.RateLimitError ThrottlingException TooManyRequests 429 RESOURCE_EXHAUSTED",
        ),
        (
            "auth",
            "UnrecognizedClientException NoCredentialsError HttpClientErrorException$Unauthorized "
            "AuthenticationError UnauthorizedException Unauthenticated 401 UNAUTHENTICATED InvalidApiKeyError",
        ),
        ("authorization", "PermissionDeniedError permission_denied Forbidden AccessDenied 403 PERMISSION_DENIED"),
        ("quota", "LimitExceededException BudgetExceededError insufficient_quota QuotaExceeded 402"),
        (
            "not_found",
            "ActiveRecord::RecordNotFound feign.FeignException$NotFound "
            "NotFoundError ResourceNotFoundException NoSuchKey 404 not_found -32601",
        ),
        (
            "validation",
            "BadHttpRequestException "
            "BadRequestError ValidationError INVALID_ARGUMENT ContextWindowExceededError 422 -32602",
        ),
        ("conflict", "UniqueViolation ALREADY_EXISTS already_exists IntegrityError ConflictException 409 ABORTED"),
        (
            "upstream",
            "CallNotPermittedException CircuitBreakerOpenException "
            "ServiceUnavailableError UNAVAILABLE OverloadedError 502 503 529",
        ),
        ("server", "InternalServerError ValueError ModuleNotFoundError java.lang.NoSuchMethodError 500 INTERNAL"),
        ("network", "ENOTFOUND EAI_AGAIN java.net.UnknownHostException socket.gaierror SSLError name_resolution_error"),
        (
            "cancelled",
            "AbortError context.Canceled asyncio.CancelledError ERR_CANCELED 499 client_disconnected ClientDisconnect",
        ),
    ],
)
@pytest.mark.parametrize("direction", ["Incoming", "Outgoing", "Internal"])
def test_a_name_is_sorted_alike_in_every_spelling(bucket: str, names: str, direction: str) -> None:
    assert {name: taxonomy.of_failure((name,), direction=direction) for name in names.split()} == dict.fromkeys(
        names.split(), bucket
    )


@pytest.mark.parametrize(
    "name",
    [
        "ECONNRESET",
        "EPIPE",
        "write: broken pipe",
        "java.io.EOFException",
        "http2.StreamError",
        "connection reset by peer",
        "ERR_STREAM_PREMATURE_CLOSE",
        "reactor.netty.http.client.PrematureCloseException",
        "anyio.BrokenResourceError",
        "RST_STREAM",
        "EOF",
    ],
)
def test_a_connection_that_breaks_is_given_up_by_the_caller_of_a_server_and_the_networks_for_a_client(
    name: str,
) -> None:
    found = [taxonomy.of_failure((name,), direction=direction) for direction in ("Incoming", "Outgoing", "Internal")]
    assert found == ["cancelled", "network", "network"]


def test_a_client_that_ends_its_own_call_has_run_out_of_time() -> None:
    for name in ("cancelled", "System.Threading.Tasks.TaskCanceledException"):
        assert taxonomy.of_failure((name,), direction="Outgoing") == "timeout"
        assert taxonomy.of_failure((name,), direction="Incoming") == "cancelled"
    assert taxonomy.of_failure(("context canceled",), direction="Outgoing") == "cancelled"


def test_a_message_tells_where_the_name_says_nothing() -> None:
    def told(message: str, direction: str = "Outgoing") -> str:
        return taxonomy.of_failure(("*errors.errorString",), (message,), direction=direction)

    assert told("context canceled", "Incoming") == "cancelled"
    assert told("connect ETIMEDOUT 192.0.2.1:443") == "timeout"
    assert told("fetch failed") == "network"
    assert told("Error code: 401 - bad key") == "auth"
    assert told("429 Client Error: x for url: https://a.test") == "rate_limit"
    assert told("<HttpError 403 when requesting a>") == "authorization"
    assert told("dial tcp: lookup pay.example.test: no such host") == "network"
    assert told("write tcp 192.0.2.1:80: write: broken pipe", "Incoming") == "cancelled"
    assert told("the validation found nothing") == "server"
    assert taxonomy.of_failure(("_OTHER",), ("",), direction="Outgoing") == "network"


def test_a_name_of_any_length_is_looked_at_within_bounds() -> None:
    assert taxonomy.of_failure(("x" * 10_000_000 + "timeout",), ("A" * 10_000_000,), direction="Incoming") == "server"
