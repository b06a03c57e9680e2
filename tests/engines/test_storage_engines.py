"""Storage on every engine: objects are whole or absent, and a signed URL opens one object, one way, for a while."""

import asyncio
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from real_engines import new_prefix

from infra.secrets import SecretBox
from infra.settings import Settings
from infra.storage import Storage, StorageMissing, StorageUnavailable, connect_storage
from infra.storage.local import LocalStorage
from infra.storage.server import create_storage_app
from market.clock import ManualClock
from market.errors import InvalidInput

EXPIRES_SECONDS = 60
LOCAL_URL = "http://storage.test"


class Served:
    """A storage and its HTTP face. later(seconds) moves the clock by which its URLs expire."""

    def __init__(self, config: Settings, clock: ManualClock) -> None:
        self.storage: Storage = connect_storage(config, SecretBox(b"k" * 32))
        self.config, self.clock = config, clock
        self.real = config.storage_url.startswith("s3://") and "GRIDBAY_TEST_S3_URL" in os.environ

    def send(self, method: str, url: str, **rest: object) -> httpx.Response:
        async def ask() -> httpx.Response:
            app = create_storage_app(self.storage, self.clock) if isinstance(self.storage, LocalStorage) else None
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app) if app else None) as client:
                return await client.request(method, url, **rest)  # type: ignore[arg-type]

        return asyncio.run(ask())

    def later(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        if self.real:
            pytest.skip("nobody moves the clock of a real S3")
        if not isinstance(self.storage, LocalStorage):
            endpoint = self.config.storage_url.partition("endpoint=")[2]
            httpx.post(f"{endpoint}/_clock", params={"ahead": seconds}).raise_for_status()

    def upload(self, key: str, size_bytes: int) -> str:
        return self.storage.upload_url(key, size_bytes=size_bytes, now=self.clock.now())

    def download(self, key: str, filename: str | None = None) -> str:
        return self.storage.download_url(key, now=self.clock.now(), filename=filename)


@pytest.fixture(params=["local", "s3"])
def served(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Served]:
    if request.param == "local":
        yield Served(
            Settings(storage_url=tmp_path.as_uri(), storage_public_url=LOCAL_URL, signed_url_seconds=60), clock
        )
        return
    bucket, _, endpoint = str(request.getfixturevalue("s3_url")).partition("?")
    url = f"{bucket}/{new_prefix()}?{endpoint}"
    made = Served(Settings(storage_url=url, signed_url_seconds=EXPIRES_SECONDS), clock)
    yield made
    if not made.real:
        made.later(0)


@pytest.fixture
def storage(served: Served) -> Storage:
    return served.storage


def test_an_object_is_replaced_as_a_whole_and_read_in_parts(storage: Storage) -> None:
    storage.put("a/b", b"first")
    storage.put("a/b", b"0123456789")
    assert (storage.get("a/b"), storage.size("a/b")) == (b"0123456789", 10)
    parts = [(0, 10), (2, 5), (2, None), (5, 5), (7, 99), (10, None), (20, 30), (3, 1)]
    assert [storage.get("a/b", *part) for part in parts] == [b"0123456789"[slice(*part)] for part in parts]


def test_what_is_not_there_is_missing_and_may_be_deleted(storage: Storage) -> None:
    storage.put("a/b", b"x")
    for _ in range(2):
        storage.delete("a/b")
        assert storage.size("a/b") is None
        for part in ((0, None), (0, 5), (3, 3)):
            with pytest.raises(StorageMissing):
                storage.get("a/b", *part)


def test_an_empty_object_is_an_object(served: Served) -> None:
    served.storage.put("empty", b"")
    assert (served.storage.size("empty"), served.storage.get("empty")) == (0, b"")
    assert served.send("PUT", served.upload("also", 0), content=b"").is_success
    assert served.storage.size("also") == 0


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a//b", "a/../b", "", "a/.", "a\0b", "ä", "a/" * 20 + "a"])
def test_a_key_never_leaves_its_folder(served: Served, key: str) -> None:
    for call in (
        lambda: served.storage.put(key, b"x"),
        lambda: served.storage.get(key),
        lambda: served.storage.size(key),
        lambda: served.storage.delete(key),
        lambda: served.upload(key, 1),
        lambda: served.download(key),
    ):
        with pytest.raises(ValueError, match="not a storage key"):
            call()


def test_a_signed_url_uploads_and_downloads(served: Served) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    assert served.send("PUT", served.upload("jobs/out.png", 10), content=b"0123456789", headers=headers).is_success
    assert served.storage.get("jobs/out.png") == b"0123456789"
    answer = served.send("GET", served.download("jobs/out.png", filename="ä b.png"))
    assert answer.content == b"0123456789"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20b.png"
    plain = served.send("GET", served.download("jobs/out.png"))
    assert plain.headers["content-disposition"] == "attachment; filename*=UTF-8''out.png"


def test_an_upload_of_another_size_is_refused_and_leaves_nothing(served: Served) -> None:
    url = served.upload("big", 10)
    for size in (0, 9, 11, 1000):
        assert served.send("PUT", url, content=b"x" * size).status_code in (403, 413)

    async def unannounced() -> object:
        for _ in range(3):
            yield b"x" * 5

    assert served.send("PUT", url, content=unannounced()).is_client_error
    assert served.storage.size("big") is None
    assert served.send("PUT", url, content=b"x" * 10).is_success


def test_a_url_opens_nothing_else(served: Served) -> None:
    served.storage.put("mine", b"m")
    served.storage.put("other", b"o")
    get, put = served.download("mine"), served.upload("mine", 1)
    assert served.send("GET", get).content == b"m"
    for method, url in (
        ("GET", get.replace("/mine", "/other")),
        ("PUT", get),
        ("GET", put),
        ("PUT", put.replace("/mine", "/other")),
        ("GET", get.replace("xpires=", "xpires=9")),
        ("GET", urlsplit(get)._replace(query="").geturl()),
        ("DELETE", get),
    ):
        assert served.send(method, url, content=b"x" if method == "PUT" else b"").status_code in (403, 405), url
    assert (served.storage.get("mine"), served.storage.get("other")) == (b"m", b"o")


def test_a_url_expires(served: Served) -> None:
    served.storage.put("mine", b"m")
    get, put = served.download("mine"), served.upload("mine", 1)
    served.later(EXPIRES_SECONDS - 10)
    assert served.send("GET", get).is_success
    served.later(EXPIRES_SECONDS + 1)
    assert served.send("GET", get).status_code == 403
    assert served.send("PUT", put, content=b"x").status_code == 403


def test_a_missing_object_is_refused(served: Served) -> None:
    # S3 says 403 to those who may not list the bucket.
    assert served.send("GET", served.download("nothing")).status_code in (403, 404)


def test_a_broken_off_upload_leaves_no_trace_in_the_folder(tmp_path: Path, clock: ManualClock) -> None:
    served = Served(Settings(storage_url=tmp_path.as_uri(), storage_public_url=LOCAL_URL), clock)
    assert served.send("PUT", served.upload("a/big", 10), content=b"x" * 11).status_code == 413
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_s3_that_is_away_is_unavailable(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    storage = Served(Settings(storage_url="s3://b?endpoint=http://127.0.0.1:9&region=x"), clock).storage
    with pytest.raises(StorageUnavailable) as raised:
        storage.size("a")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://bucket?endpont=http://x", "ftp://x/y"])
def test_a_url_that_names_no_storage_is_refused(url: str, clock: ManualClock) -> None:
    with pytest.raises((InvalidInput, ValueError), match="GRIDBAY_STORAGE_URL"):
        Served(Settings(storage_url=url), clock)
