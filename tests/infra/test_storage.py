"""Storage: objects are whole or absent, and a signed URL opens one object, one way, for a while."""

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from infra.secrets import SecretBox
from infra.storage.local import LocalStorage
from infra.storage.port import StorageMissing
from infra.storage.server import create_storage_app
from market.clock import ManualClock

URL = "http://storage.test"


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path, URL, SecretBox(b"k" * 32), expires_seconds=60)


@pytest.fixture
def web(storage: LocalStorage, clock: ManualClock) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(create_storage_app(storage, clock)))


def run(awaitable: object) -> httpx.Response:
    import asyncio

    return asyncio.run(awaitable)  # type: ignore[arg-type]


def test_an_object_is_replaced_as_a_whole_and_read_in_parts(storage: LocalStorage) -> None:
    storage.put("a/b", b"first")
    storage.put("a/b", b"0123456789")
    assert (storage.get("a/b"), storage.get("a/b", 2, 5), storage.size("a/b")) == (b"0123456789", b"234", 10)
    storage.delete("a/b")
    assert storage.size("a/b") is None
    with pytest.raises(StorageMissing):
        storage.get("a/b")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "a/../b", "", "a/.", "a\0b", "ä", "a/" * 20 + "a"])
def test_a_key_never_leaves_the_folder(storage: LocalStorage, key: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        storage.put(key, b"x")


def test_a_signed_url_uploads_and_downloads(storage: LocalStorage, web: httpx.AsyncClient, clock: ManualClock) -> None:
    put = storage.upload_url("jobs/out.png", max_bytes=10, now=clock.now())
    assert run(web.put(put, content=b"0123456789")).status_code == 204
    answer = run(web.get(storage.download_url("jobs/out.png", now=clock.now(), filename="ä b.png")))
    assert answer.content == b"0123456789"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_a_url_opens_nothing_else(storage: LocalStorage, web: httpx.AsyncClient, clock: ManualClock) -> None:
    storage.put("mine", b"m")
    storage.put("other", b"o")
    get = storage.download_url("mine", now=clock.now())
    assert run(web.get(get.replace("mine", "other"))).status_code == 403
    assert run(web.put(get, content=b"x")).status_code == 403
    assert run(web.get(get.replace("expires=", "expires=9"))).status_code == 403
    assert run(web.get(f"{URL}/mine")).status_code == 403
    clock.advance(timedelta(seconds=61))
    assert run(web.get(get)).status_code == 403


def test_an_upload_over_its_size_leaves_nothing(
    storage: LocalStorage, web: httpx.AsyncClient, clock: ManualClock, tmp_path: Path
) -> None:
    async def chunks() -> object:
        for _ in range(3):
            yield b"x" * 5

    put = storage.upload_url("big", max_bytes=10, now=clock.now())
    assert run(web.put(put, content=b"x" * 11)).status_code == 413
    assert run(web.put(put, content=chunks())).status_code == 413  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
