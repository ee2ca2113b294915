"""Object storage: requests signed as AWS's own examples are, and what cannot be an address or a key is refused."""

from __future__ import annotations

import pytest

from weighbridge.commands.bucket import Bucket, Keys, authorization
from weighbridge.commands.errors import CommandError

# "Examples: Signature Calculations", of "Authenticating Requests: Using the Authorization Header".
EXAMPLES = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
HOST = {"host": "examplebucket.s3.amazonaws.com", "x-amz-date": "20130524T000000Z"}
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "signature"),
    [
        (
            "GET",
            "/test.txt",
            {
                "range": "bytes=0-9",
                "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            },
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT",
            "/test%24file.text",
            {
                "date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
                "x-amz-content-sha256": "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            },
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
    ],
)
def test_requests_are_signed_as_in_awss_examples(
    method: str, path: str, headers: dict[str, str], signature: str
) -> None:
    said = authorization(method, path, {**HOST, **headers}, EXAMPLES, "us-east-1")
    assert said.startswith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ")
    assert said.endswith(f", Signature={signature}")


@pytest.mark.parametrize(
    ("address", "environment", "said"),
    [
        ("s3://", ENVIRONMENT, "write s3://BUCKET/PREFIX"),
        ("s3:///events", ENVIRONMENT, "write s3://BUCKET/PREFIX"),
        ("s3://buck et/events", ENVIRONMENT, "write s3://BUCKET/PREFIX"),
        ("s3://user@host/events", ENVIRONMENT, "write s3://BUCKET/PREFIX"),
        ("s3://bucket/events", {}, "set AWS_ACCESS_KEY_ID"),
        ("s3://bucket/events", {"AWS_ACCESS_KEY_ID": "a"}, "set AWS_ACCESS_KEY_ID"),
        ("s3://bucket", {**ENVIRONMENT, "AWS_ENDPOINT_URL": "minio:9000"}, "is no address"),
        ("s3://bucket", {**ENVIRONMENT, "AWS_ENDPOINT_URL_S3": "file:///etc"}, "is no address"),
    ],
)
def test_what_is_no_place_to_write_is_told(address: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(CommandError) as refused:
        Bucket(address, environment)
    assert said in refused.value.message
