"""Files in object storage that speaks S3's protocol: put, looked at, removed. Requests are signed by SigV4.

Source: AWS, "Authenticating Requests: Using the Authorization Header" (a single chunk, the payload's hash signed).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from weighbridge.commands.errors import CommandError, CommandFailed

SCHEME: Final = "s3://"
# Of one file: what S3 takes in one request. A file of an export is far smaller but for a server's Parquet or text.
MOST_BYTES: Final = 5 << 30
_USUAL_REGION: Final = "us-east-1"
_CONNECT_S, _READ_S = 10.0, 300.0  # a slow line sends 5 GiB in pieces that each are quick
_TRIES: Final = urllib3.Retry(
    total=4, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), allowed_methods=None, raise_on_status=False
)
_SAID: Final = 300  # characters of a refusal that are told
_NOTHING: Final = sha256(b"").hexdigest()


class Keys(NamedTuple):
    """Who writes."""

    access: str
    secret: str
    session: str = ""


class Bucket:
    """A place of a bucket, below which names are."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        """address: s3://BUCKET/PREFIX. environment: AWS's own variables. Raises CommandError."""
        name, _, prefix = address.removeprefix(SCHEME).partition("/")
        if not name or not all(part.isalnum() or part in ".-_" for part in name):
            raise CommandError(f"{address}: write s3://BUCKET/PREFIX")
        access, secret = (environment.get(f"AWS_{what}", "") for what in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
        if not access or not secret:
            raise CommandError(f"{address}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for who may write there")
        self.address = address.rstrip("/")
        self._keys = Keys(access, secret, environment.get("AWS_SESSION_TOKEN", ""))
        self._region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or _USUAL_REGION
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
        if endpoint:
            base = f"{endpoint.rstrip('/')}/{name}"
        elif "." in name:  # a certificate of the service is for names without
            base = f"https://s3.{self._region}.amazonaws.com/{name}"
        else:
            base = f"https://{name}.s3.{self._region}.amazonaws.com"
        if urlsplit(base).scheme not in ("http", "https"):
            raise CommandError(f"AWS_ENDPOINT_URL {endpoint!r} is no address: write https://host")
        self._base = "/".join([base, *filter(None, quote(prefix, safe="/-._~").split("/"))])
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S), retries=_TRIES)

    def put_file(self, name: str, path: Path) -> None:
        """Raises CommandFailed, OSError."""
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise CommandFailed(f"{path.name} of {size} bytes is more than one request to S3 takes ({MOST_BYTES})")
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
            file.seek(0)
            self._ask("PUT", name, digest, file, size)

    def put(self, name: str, content: bytes) -> None:
        """Raises CommandFailed."""
        self._ask("PUT", name, sha256(content).hexdigest(), content, len(content))

    def get(self, name: str) -> bytes | None:
        """The content; None when there is none. Raises CommandFailed."""
        status, content = self._ask("GET", name)
        return content if status != 404 else None

    def has(self, name: str) -> bool:
        """Raises CommandFailed."""
        return self._ask("HEAD", name)[0] != 404

    def remove(self, name: str) -> None:
        """Raises CommandFailed."""
        self._ask("DELETE", name)

    def _ask(
        self, method: str, name: str, digest: str = _NOTHING, body: BinaryIO | bytes | None = None, size: int = 0
    ) -> tuple[int, bytes]:
        url = f"{self._base}/{name}"  # names of days and files, which need no quoting
        parts = urlsplit(url)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        if self._keys.session:
            headers["x-amz-security-token"] = self._keys.session
        headers["authorization"] = authorization(method, parts.path, headers, self._keys, self._region)
        if body is not None:
            headers["content-length"] = str(size)
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            raise CommandFailed(f"{parts.netloc} does not answer: {str(error)[:_SAID]}") from error
        if answer.status >= 300 and not (answer.status == 404 and method in ("GET", "HEAD", "DELETE")):
            said = " ".join(answer.data.decode(errors="replace").split())[:_SAID]
            raise CommandFailed(f"{parts.netloc} refuses {method} {parts.path}: {answer.status} {said}")
        return answer.status, answer.data


def authorization(method: str, path: str, headers: Mapping[str, str], keys: Keys, region: str) -> str:
    """The header of that name. path: as it is sent. headers: all that are signed, their names in lower case."""
    stamp, digest = headers["x-amz-date"], headers["x-amz-content-sha256"]
    names = sorted(headers)
    signed = ";".join(names)
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in names]
    asked = "\n".join([method, path, "", *lines, "", signed, digest])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, sha256(asked.encode()).hexdigest()])
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"AWS4-HMAC-SHA256 Credential={keys.access}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
