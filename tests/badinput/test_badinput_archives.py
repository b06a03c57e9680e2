"""A wrong archive ends its attempt as failed:workdir, in words, and leaves nothing outside of its folder."""

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from archive_cases import TABLE, WHOLE
from hypothesis import given, settings
from hypothesis import strategies as st
from served_market import Answer, ServedMarket

from market.errors import TooLarge
from market.states import Reason
from provider_agent.attempts import start
from provider_agent.attempts.transfer import Transfers
from provider_agent.attempts.workdir import BadArchive, unpack

DISK = 1_000_000


class Given:
    """An attempt as far as its working directory goes, and a storage with one archive in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.workdir = folder, folder / "work"
        self.url = url
        self.record = SimpleNamespace(disk_bytes=DISK)
        self.means = SimpleNamespace(transfers=Transfers())
        self.held_seconds = 0.0

    def fetch(self, sha256: str) -> start.CannotStart | None:
        order: Any = SimpleNamespace(workdir_url=self.url, workdir_sha256=sha256)

        async def fetching() -> None:
            async with self.means.transfers:
                await start._fetch_workdir(self, order)  # type: ignore[arg-type]

        try:
            asyncio.run(fetching())
        except start.CannotStart as refused:
            return refused
        return None


def _fetched(served: ServedMarket, folder: Path, archive: bytes, sha256: str | None = None) -> start.CannotStart | None:
    folder.mkdir()
    served.on("GET /archive", Answer(archive))
    digest = sha256 or hashlib.sha256(archive).hexdigest()
    return Given(folder, f"{served.url}/archive").fetch(digest)


@pytest.mark.parametrize("group", TABLE)
def test_a_wrong_archive_ends_the_attempt_in_words(tmp_path: Path, market_server: ServedMarket, group: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    amiss = {}
    for number, (name, (archive, says)) in enumerate(TABLE[group].items()):
        folder = tmp_path / str(number)
        refused = _fetched(market_server, folder, archive)
        if refused is None or refused.result.reason is not Reason.FAILED_WORKDIR:
            amiss[name] = f"{refused and refused.result}"
            continue
        detail = refused.result.detail
        # What is said goes to the market as JSON and to a terminal.
        if says not in detail or not detail.isprintable() or not 10 < len(detail.encode()) < 500:
            amiss[name] = detail
        if [path.name for path in folder.iterdir()] != ["work"] or _size(folder) > DISK:
            amiss[name] = f"left behind: {sorted(folder.rglob('*'))[:5]}"
    assert not amiss, "\n".join(f"{name}: {found}" for name, found in amiss.items())
    assert outside.read_text() == "untouched"
    assert not Path("/etc/gridbay-attack").exists()


def test_another_archive_than_the_promised_one_is_not_even_opened(tmp_path: Path, market_server: ServedMarket) -> None:
    refused = _fetched(market_server, tmp_path / "a", WHOLE, sha256="0" * 64)
    assert refused is not None and refused.result.reason is Reason.FAILED_WORKDIR
    assert "SHA-256" in refused.result.detail
    assert list((tmp_path / "a" / "work").iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=40))
def test_no_damage_is_met_with_anything_but_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, at: int, damage: bytes
) -> None:
    import gzip

    from archive_cases import FILE, FOLDER, HARD, LINK, packed

    plain = gzip.decompress(packed(("d", FOLDER, ""), ("d/é", FILE, ""), ("l", LINK, "d"), ("h", HARD, "d/é")))
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a").write_bytes(gzip.compress(plain[:at] + damage + plain[at + len(damage) :], compresslevel=1))
    (folder / "work").mkdir()
    try:
        unpack(folder / "a", folder / "work", bytes_max=DISK)
    except (BadArchive, TooLarge) as refused:
        refused.detail.encode()
    assert {path.name for path in folder.iterdir()} == {"a", "work"}


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
