"""Storage in a local directory, and the rule of its signed URLs (served by infra.storage.server)."""

import os
import secrets as random
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode

from infra.secrets import SecretBox
from infra.storage.port import StorageMissing, checked_key


class LocalStorage:
    """One file an object; written beside and renamed, so that no reader sees half of one."""

    def __init__(self, folder: str | Path, public_url: str, secrets: SecretBox, expires_seconds: int) -> None:
        self._folder = Path(folder)
        self._public_url = public_url.rstrip("/")
        self._secrets = secrets
        self._expires_seconds = expires_seconds

    def put(self, key: str, data: bytes) -> None:
        with self.incoming(key) as part:
            part.write_bytes(data)
            part.keep()

    def get(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        try:
            with self.path(key).open("rb") as file:
                file.seek(start)
                return file.read() if end is None else file.read(max(0, end - start))
        except FileNotFoundError:
            raise StorageMissing(key) from None

    def size(self, key: str) -> int | None:
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def upload_url(self, key: str, *, size_bytes: int, now: datetime) -> str:
        return self._signed("PUT", key, {"size": str(size_bytes)}, now)

    def download_url(self, key: str, *, now: datetime, filename: str | None = None) -> str:
        return self._signed("GET", key, {"filename": filename} if filename else {}, now)

    def path(self, key: str) -> Path:
        """The file of a key. Raises ValueError for one that is not of the allowed form."""
        return self._folder / checked_key(key)

    def incoming(self, key: str) -> "Incoming":
        """A place to write an object to before it takes its key."""
        return Incoming(self.path(key))

    def permits(self, method: str, key: str, query: str, now: datetime) -> dict[str, str] | None:
        """The parameters of a signed request, or None when it is not signed by us, expired, or for something else."""
        fields = {name: values[0] for name, values in parse_qs(query, max_num_fields=8).items()}
        signature = fields.pop("signature", "")
        if not self._secrets.verify(_message(method, key, fields), signature):
            return None
        return fields if int(fields["expires"]) >= now.timestamp() else None

    def _signed(self, method: str, key: str, fields: dict[str, str], now: datetime) -> str:
        self.path(key)
        signed = fields | {"expires": str(int(now.timestamp()) + self._expires_seconds)}
        signature = self._secrets.sign(_message(method, key, signed))
        return f"{self._public_url}/{quote(key)}?{urlencode(signed | {'signature': signature})}"


class Incoming:
    """A partial object: kept under its key on `keep`, gone otherwise."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.{random.token_hex(6)}")
        self._kept = False

    def __enter__(self) -> "Incoming":
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("xb")
        return self

    def write_bytes(self, data: bytes) -> None:
        self._file.write(data)

    def keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._kept = True

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._kept:
            self._path.replace(self._target)
        else:
            self._path.unlink(missing_ok=True)


def _message(method: str, key: str, fields: dict[str, str]) -> bytes:
    return "\n".join([method, key, *(f"{name}={fields[name]}" for name in sorted(fields))]).encode()
