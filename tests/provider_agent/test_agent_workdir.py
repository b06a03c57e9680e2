"""A customer's archive lands in its folder or is refused; nothing outside the folder ever changes."""

import gzip
import io
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.errors import TooLarge
from provider_agent.attempts.workdir import BadArchive, unpack

Tar = tarfile.TarFile


def pack(path: Path, fill: Callable[[Tar], None], *, kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=kind) as tar:
        fill(tar)
    return path


def add(
    tar: Tar, name: str, content: bytes = b"x", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, link, mode
    entry.size = len(content) if kind == tarfile.REGTYPE else 0
    tar.addfile(entry, io.BytesIO(content))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)


@settings(max_examples=50, deadline=None)
@given(
    files=st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=300), max_size=8)
)
def test_what_was_packed_is_what_is_unpacked(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    parents = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    files = {name: content for name, content in files.items() if name not in parents}
    folder = tmp_path_factory.mktemp("work")

    def fill(tar: Tar) -> None:
        for name, content in files.items():
            add(tar, name, content)

    archive = pack(folder.with_suffix(".tar.gz"), fill)

    unpack(archive, folder, bytes_max=10**6)

    assert tree(folder) == files


Entry = tuple[str, bytes, str]
FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ATTACKS: dict[str, list[Entry]] = {
    "absolute name": [("/etc/gridbay-attack", FILE, "")],
    "name with ..": [("a/../../outside", FILE, "")],
    "absolute link": [("a", LINK, "/etc")],
    "link that leads out": [("a/b", LINK, "../../outside")],
    "hard link that leads out": [("a", HARD, "../outside")],
    "hard link to an absolute file": [("a", HARD, "/etc/passwd")],
    "hard link through a link": [("d/x", FILE, ""), ("l", LINK, "d"), ("h", HARD, "l/x")],
    "device": [("null", tarfile.CHRTYPE, "")],
    "block device": [("disk", tarfile.BLKTYPE, "")],
    "pipe": [("pipe", tarfile.FIFOTYPE, "")],
    "writing through a link": [("d/x", FILE, ""), ("l", LINK, "d"), ("l/x", FILE, "")],
    "a file where a folder is": [("d/x", FILE, ""), ("d", FILE, "")],
    "too deep": [("/".join("d" * 100), FILE, "")],
    "a name no disk takes": [("n" * 300, FILE, "")],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_that_reaches_out_is_refused(tmp_path: Path, attack: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    folder = tmp_path / "work"
    folder.mkdir()

    def fill(tar: Tar) -> None:
        for name, kind, link in ATTACKS[attack]:
            add(tar, name, kind=kind, link=link)

    archive = pack(tmp_path / "a.tar.gz", fill)

    with pytest.raises(BadArchive):
        unpack(archive, folder, bytes_max=10**6)

    assert outside.read_text() == "untouched"
    assert not Path("/etc/gridbay-attack").exists()


def test_a_chain_of_links_is_never_written_through(tmp_path: Path) -> None:
    """Each link looks harmless by itself; together they lead out (CVE-2025-4517 and its like)."""
    folder = tmp_path / "work"
    folder.mkdir()
    deep = "/".join(["d" * 200] * 10)

    def fill(tar: Tar) -> None:
        add(tar, deep, kind=tarfile.DIRTYPE, mode=0o755)
        add(tar, "link", kind=tarfile.SYMTYPE, link=deep)
        add(tar, "escape", kind=tarfile.SYMTYPE, link="link/" + "../" * 10 + "../outside")
        add(tar, "escape/file", b"attack")

    with pytest.raises(BadArchive):
        unpack(pack(tmp_path / "a.tar.gz", fill), folder, bytes_max=10**6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "work"]


def test_links_within_the_archive_are_kept_and_modes_are_plain(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()

    def fill(tar: Tar) -> None:
        add(tar, "./run.sh", b"#!", mode=0o4777)
        add(tar, "sub/link", kind=tarfile.SYMTYPE, link="../run.sh")
        add(tar, "hard", kind=tarfile.LNKTYPE, link="run.sh")
        add(tar, "twice", b"old")
        add(tar, "twice", b"new")

    unpack(pack(tmp_path / "a.tar.gz", fill), folder, bytes_max=1000)

    assert (folder / "run.sh").stat().st_mode & 0o7777 == 0o755
    assert str((folder / "sub/link").readlink()) == "../run.sh"
    assert (folder / "hard").read_bytes() == b"#!"
    assert (folder / "twice").read_bytes() == b"new"


def test_an_archive_is_bounded_in_bytes_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()

    def fill(tar: Tar) -> None:
        for number in range(20):
            add(tar, str(number), b"\0" * 10**6)

    bomb = pack(tmp_path / "a.tar.gz", fill)
    assert bomb.stat().st_size < 100_000

    with pytest.raises(TooLarge):
        unpack(bomb, folder, bytes_max=5 * 10**6)

    assert sum(path.stat().st_size for path in folder.iterdir()) <= 5 * 10**6


def test_a_header_as_large_as_memory_is_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 8 * 10**9
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(entry.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 10_000))

    with pytest.raises(BadArchive, match="header claims"):
        unpack(tmp_path / "a.tar.gz", tmp_path, bytes_max=10**6)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"no tar" * 100), struct.pack(">100I", *range(100))]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)

    with pytest.raises(BadArchive):
        unpack(tmp_path / "a.tar.gz", tmp_path, bytes_max=10**6)


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    archive = pack(tmp_path / "a.tar.gz", lambda tar: add(tar, "a", os.urandom(50_000)))
    archive.write_bytes(archive.read_bytes()[:30_000])

    with pytest.raises(BadArchive):
        unpack(archive, folder, bytes_max=10**6)
