"""The storage port: small objects go through the process, large ones by signed URLs that expire."""

from datetime import datetime
from typing import Protocol


class StorageMissing(Exception):
    """There is no object under that key."""


class Storage(Protocol):
    """Objects under keys like `logs/att_01.../0`; a key is letters, digits, and `._-/`, without `..`."""

    def put(self, key: str, data: bytes) -> None:
        """Store durably; an object under that key is replaced as a whole."""

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes start..end of an object. Raises StorageMissing."""

    def size(self, key: str) -> int | None:
        """The size in bytes, or None when there is no such object."""

    def delete(self, key: str) -> None:
        """Remove it; nothing happens when it is not there."""

    def upload_url(self, key: str, *, max_bytes: int, now: datetime) -> str:
        """A URL that takes one object by HTTP PUT, of max_bytes at most, until it expires."""

    def download_url(self, key: str, *, now: datetime, filename: str | None = None) -> str:
        """A URL that gives the object by HTTP GET until it expires."""
