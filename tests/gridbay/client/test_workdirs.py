"""A working directory is packed the same way every time, whole, without what is ignored, and never from outside."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_market import Answer, Seen, ServedMarket, problem

from gridbay.client import Gridbay, pack
from gridbay.client.workdirs import ALWAYS_IGNORED
from market.customer_api import WorkdirAnswer
from market.errors import InvalidInput, TooLarge, Unavailable


def names(folder: Path) -> list[str]:
    with pack(folder) as archive, tarfile.open(fileobj=archive.file) as tar:
        return tar.getnames()


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@settings(deadline=None)
@given(
    st.dictionaries(st.text("abcé ._-", min_size=1, max_size=8).filter(lambda n: n.strip(".")), st.binary(max_size=99))
)
def test_what_is_packed_is_what_comes_out(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("source")
    for name, content in files.items():
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / name).write_bytes(content)
    out = tmp_path_factory.mktemp("out")
    with pack(folder) as archive, tarfile.open(fileobj=archive.file) as tar:
        # As an agent unpacks it: the filter refuses whatever would leave the folder.
        _extract(tar, out)
    assert archive.file_count == len(files)
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_equal_folders_are_equal_archives(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, **{"b": "2", "a/c": "1"}) for name in ("one", "two"))
    (two / "b").touch()
    os.utime(two / "a" / "c", (1, 1))
    (two / "b").chmod(0o600)
    with pack(one) as first, pack(two) as second:
        assert first.sha256 == second.sha256 == hashlib.sha256(first.file.read()).hexdigest()
        assert first.size_bytes == first.file.tell()
    (two / "b").chmod(0o755)
    with pack(two) as executable:
        assert executable.sha256 != first.sha256


def test_the_ignore_file_is_read_like_gits(tmp_path: Path) -> None:
    write(tmp_path, **{"train.py": "", "data/big.bin": "", "data/small.csv": "", "notes.md": "", "keep.md": ""})
    write(tmp_path, **{".gridbayignore": "# not needed\n*.md\n!keep.md\n/data/*.bin\n", "src/data/big.bin": ""})
    assert names(tmp_path) == [".gridbayignore", "data/small.csv", "keep.md", "src/data/big.bin", "train.py"]


def test_nobody_wants_to_send_some_things(tmp_path: Path) -> None:
    unwanted = ("a/__pycache__/x", "a/b.pyc", ".git/config", "web/node_modules/x")
    for name in ("train.py", *unwanted, "my-env/pyvenv.cfg", "my-env/bin/python"):
        write(tmp_path, **{name: ""})
    assert names(tmp_path) == ["train.py"]
    assert len(ALWAYS_IGNORED) == len(unwanted)
    write(tmp_path, **{".gridbayignore": "!node_modules/\n"})
    assert names(tmp_path) == [".gridbayignore", "train.py", "web/node_modules/x"]


def test_links_stay_inside(tmp_path: Path) -> None:
    folder = write(tmp_path / "work", **{"data/a": "1"})
    (folder / "sub").mkdir()
    (folder / "sub" / "near").symlink_to("../data/a")
    (folder / "sub" / "absolute").symlink_to(folder / "data" / "a")
    (folder / "tree").symlink_to("data")
    with pack(folder) as archive, tarfile.open(fileobj=archive.file) as tar:
        links = {member.name: member.linkname for member in tar if member.issym()}
        _extract(tar, tmp_path / "out")
    assert links == {"sub/near": "../data/a", "sub/absolute": "../data/a", "tree": "data"}
    assert (tmp_path / "out" / "sub" / "absolute").read_text() == "1"


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "inner/../../outside"])
def test_a_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    folder = write(tmp_path / "work", a="1")
    (tmp_path / "outside").write_text("secret")
    (folder / "inner").mkdir()
    (folder / "leak").symlink_to(target)
    with (
        pytest.raises(InvalidInput, match=r"leak is a link that leads to .*, outside of the folder") as refused,
        pack(folder),
    ):
        pass
    assert ".gridbayignore" in refused.value.remedy
    write(folder, **{".gridbayignore": "leak\n"})
    assert "leak" not in names(folder)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="pipe is neither a file nor a folder"), pack(tmp_path):
        pass


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"), pack(tmp_path / "nowhere"):
        pass


def test_a_folder_that_is_too_large_is_refused_with_what_makes_it_so(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(300_000))
    (tmp_path / "small").write_bytes(b"x")
    with pytest.raises(TooLarge, match=r"more than 0.0625 MiB") as refused, pack(tmp_path, max_bytes=65_536):
        pass
    assert "model.bin (0.3 MB)" in refused.value.remedy


class Storage:
    """A storage behind the served market: what was put where, and under which credential."""

    def __init__(self, market: ServedMarket, *, known: bool = False) -> None:
        self.put: list[Seen] = []
        url = None if known else f"{market.url}/storage/key?signature=1"
        market.on("POST /v1/workdirs", lambda seen: Answer(WorkdirAnswer(sha256=seen.json()["sha256"], upload_url=url)))
        market.on("PUT /storage/{}", self._take)

    def _take(self, seen: Seen) -> Answer:
        self.put.append(seen)
        return Answer()


@pytest.fixture
def sdk(market: ServedMarket) -> Iterator[Gridbay]:
    with Gridbay(market.url, "gbc_secret", patience_seconds=5) as sdk:
        yield sdk


def test_an_archive_is_sent_whole_though_the_connection_breaks(
    market: ServedMarket, sdk: Gridbay, tmp_path: Path
) -> None:
    storage = Storage(market)
    market.lose_answers("PUT /storage/{}", 1)
    market.fail_next("PUT /storage/{}", problem(503, "unavailable", "full"))
    digest = sdk.upload_workdir(write(tmp_path, a="1"))
    assert [hashlib.sha256(seen.body).hexdigest() for seen in storage.put] == [digest, digest]
    with tarfile.open(fileobj=io.BytesIO(storage.put[-1].body)) as tar:
        assert tar.getnames() == ["a"]
    assert "authorization" not in storage.put[0].headers, "the storage never sees the credential"
    assert market.asked("POST /v1/workdirs")[0].json() == {"sha256": digest, "size_bytes": len(storage.put[-1].body)}


def test_what_the_market_has_is_not_sent(market: ServedMarket, sdk: Gridbay, tmp_path: Path) -> None:
    storage = Storage(market, known=True)
    sdk.upload_workdir(write(tmp_path, a="1"))
    assert storage.put == []


def test_an_upload_that_is_refused_is_not_insisted_on(market: ServedMarket, sdk: Gridbay, tmp_path: Path) -> None:
    storage = Storage(market)
    market.fail_next("PUT /storage/{}", problem(413, "too_large", "more than was declared"))
    with pytest.raises(TooLarge):
        sdk.upload_workdir(write(tmp_path, a="1"))
    market.fail_next("PUT /storage/{}", *[problem(503, "unavailable", "full")] * 9)
    with Gridbay(market.url, "gbc_secret", patience_seconds=0.2) as hasty, pytest.raises(Unavailable, match="full"):
        hasty.upload_workdir(tmp_path)
    assert storage.put == []


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Archives of our own making; Debian's 3.11 has no extraction filters, and newer Pythons insist on one."""
    if hasattr(tarfile, "data_filter"):
        tar.extractall(folder, filter="data")
    else:
        tar.extractall(folder)
