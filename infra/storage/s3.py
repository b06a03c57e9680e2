"""Storage in an S3 bucket: GRIDBAY_STORAGE_URL=s3://bucket/prefix?endpoint=https://...&region=...

The credentials come from where every S3 client finds them: AWS_ACCESS_KEY_ID and its like, ~/.aws, the instance's role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.storage.port import StorageMissing, StorageUnavailable, checked_key, media_type

CONNECT_SECONDS, ANSWER_SECONDS = 5, 30
TRIES_MAX = 3
CONNECTIONS_MAX = 20
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_EMPTY_RANGE = "InvalidRange"


class S3Storage:
    """One object a key, below the URL's prefix. A signed URL counts its time by S3's clock."""

    def __init__(self, url: str, expires_seconds: int) -> None:
        """Raises ValueError for a URL without a bucket, or with options that are none."""
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
        endpoint, region = options.pop("endpoint", None), options.pop("region", None)
        if not parts.netloc or options:
            raise ValueError(f"GRIDBAY_STORAGE_URL: s3://bucket/prefix?endpoint=https://...&region=..., not {url!r}")
        self._bucket, self._prefix = parts.netloc, parts.path.strip("/")
        self._expires_seconds = expires_seconds
        self._client: Any = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=region, config=_config(with_endpoint=endpoint is not None)
        )

    def put(self, key: str, data: bytes) -> None:
        with _asking(key):
            self._client.put_object(**self._at(key), Body=data)

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        if end is not None and end <= start:
            if self.size(key) is None:
                raise StorageMissing(key)
            return b""
        wanted = f"bytes={start}-{'' if end is None else end - 1}"
        with _asking(key):
            try:
                data: bytes = self._client.get_object(**self._at(key), Range=wanted)["Body"].read()
            except ClientError as error:
                if _code(error) != _EMPTY_RANGE:
                    raise
                # It begins at the end of the object, or behind it.
                return b""
        return data

    def size(self, key: str) -> int | None:
        try:
            with _asking(key):
                return int(self._client.head_object(**self._at(key))["ContentLength"])
        except StorageMissing:
            return None

    def delete(self, key: str) -> None:
        with _asking(key):
            self._client.delete_object(**self._at(key))

    def upload_url(self, key: str, *, size_bytes: int, now: datetime) -> str:
        # The length is among the signed headers, so that S3 takes no other.
        return self._signed("put_object", {**self._at(key), "ContentLength": size_bytes})

    def download_url(self, key: str, *, now: datetime, filename: str | None = None) -> str:
        name = filename or key.rpartition("/")[2]
        # A customer's file is never shown by the browser as a page of the bucket's.
        shown = {"ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return self._signed("get_object", {**self._at(key), **shown, "ResponseContentType": media_type(name)})

    def _signed(self, operation: str, parameters: dict[str, Any]) -> str:
        with _asking(parameters["Key"]):
            url: str = self._client.generate_presigned_url(
                operation, Params=parameters, ExpiresIn=self._expires_seconds
            )
        return url

    def _at(self, key: str) -> dict[str, str]:
        name = checked_key(key)
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{name}" if self._prefix else name}


def _config(*, with_endpoint: bool) -> Config:
    return Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=ANSWER_SECONDS,
        max_pool_connections=CONNECTIONS_MAX,
        retries={"mode": "standard", "total_max_attempts": TRIES_MAX},
        # Checksums beyond the protocol's own are not known to every S3, and would be headers that uploaders must send.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # A server that is named has no certificate for names below its own.
        s3={"addressing_style": "path" if with_endpoint else "auto"},
    )


@contextmanager
def _asking(key: str) -> Iterator[None]:
    """Its errors in the port's words; the URL of the bucket is not told to customers."""
    try:
        yield
    except ClientError as error:
        if _code(error) in _MISSING:
            raise StorageMissing(key) from None
        raise StorageUnavailable(f"storage refuses: {_code(error)}") from error
    except (BotoCoreError, OSError) as error:
        raise StorageUnavailable(f"storage does not answer: {type(error).__name__}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
