"""The storage port: small objects go through the process, large ones by signed URLs that expire."""

import mimetypes
import re
from datetime import datetime
from typing import Protocol

from market.errors import Unavailable

_KEY = re.compile(r"^[A-Za-z0-9._-]{1,200}(/[A-Za-z0-9._-]{1,200}){0,11}$")


class StorageMissing(Exception):
    """There is no object under that key."""


class StorageUnavailable(Unavailable):
    """Storage is away, full, or refuses its credentials; what was asked may or may not have been done."""


class Storage(Protocol):
    """Objects under keys like `logs/att_01.../0`; a key is letters, digits, and `._-/`, without `..`.

    Every method may raise StorageUnavailable, and ValueError for what is no key.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store durably; an object under that key is replaced as a whole."""

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes start..end of an object. Raises StorageMissing."""

    def size(self, key: str) -> int | None:
        """The size in bytes, or None when there is no such object."""

    def delete(self, key: str) -> None:
        """Remove it; nothing happens when it is not there."""

    def upload_url(self, key: str, *, size_bytes: int, now: datetime) -> str:
        """A URL that takes one object of exactly that size by HTTP PUT with Content-Length, until it expires."""

    def download_url(self, key: str, *, now: datetime, filename: str | None = None) -> str:
        """A URL that gives the object by HTTP GET, as a file of that name to keep, until it expires."""


def checked_key(key: str) -> str:
    """The same key. Raises ValueError for one that is not of the allowed form."""
    if _KEY.match(key) is None or any(part in (".", "..") for part in key.split("/")):
        raise ValueError(f"{key!r} is not a storage key")
    return key


def media_type(filename: str) -> str:
    """What a file of that name is probably."""
    return mimetypes.guess_type(filename)[0] or "application/octet-stream"
