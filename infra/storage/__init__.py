"""Storage of large things: archives, outputs, log segments. One port; a local directory is its embedded twin."""

from infra.secrets import SecretBox
from infra.settings import Settings
from infra.storage.local import LocalStorage
from infra.storage.port import Storage, StorageMissing, StorageUnavailable
from market.errors import InvalidInput

__all__ = ["Storage", "StorageMissing", "StorageUnavailable", "connect_storage"]


def connect_storage(config: Settings, secrets: SecretBox) -> Storage:
    """The storage that the settings name. Raises InvalidInput for a scheme that is not served."""
    scheme, _, place = config.storage_url.partition("://")
    if scheme == "file":
        return LocalStorage(place, config.storage_public_url, secrets, config.signed_url_seconds)
    if scheme == "s3":
        # Its library takes 30 MB and half a second: only where it is used.
        from infra.storage.s3 import S3Storage  # noqa: PLC0415

        return S3Storage(config.storage_url, config.signed_url_seconds)
    raise InvalidInput(
        f"GRIDBAY_STORAGE_URL: {scheme}:// is not served", remedy="use file:///a/folder or s3://bucket/prefix"
    )
