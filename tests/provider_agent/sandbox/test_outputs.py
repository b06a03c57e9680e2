"""The agent reads what a customer's command left, and nothing that a name in there leads to."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_agent.sandbox.outputs import OutputFile, UnsafePath, hand_over, list_beneath, open_beneath


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("of the host")
    work = tmp_path / "work"
    (work / "out" / "deep").mkdir(parents=True)
    (work / "metrics.json").write_text("{}")
    (work / "out" / "model.bin").write_bytes(b"12345")
    (work / "out" / "deep" / "curve.csv").write_text("1,2")
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "folder-link").symlink_to(tmp_path)
    (work / "out" / "loop").symlink_to(work)
    os.mkfifo(work / "pipe")
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(work)
        end.bind("sock")
        os.chdir(here)
    return work


def test_a_file_is_read_by_its_name(workdir: Path) -> None:
    with open_beneath(workdir, "out//deep/curve.csv") as file:
        assert file.read() == b"1,2"
    with open_beneath(workdir, "./metrics.json") as file:
        assert file.read() == b"{}"


@pytest.mark.parametrize(
    "name",
    [
        "link",
        "folder-link/secret",
        "out/loop/metrics.json",
        "pipe",
        "sock",
        "out",
        "../secret",
        "/etc/passwd",
        "",
        "a\0b",
    ],
)
def test_what_is_no_regular_file_below_is_refused(workdir: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        open_beneath(workdir, name)


def test_a_missing_file_is_missing(workdir: Path) -> None:
    for name in ("no", "out/no", "no/such"):
        with pytest.raises(FileNotFoundError):
            open_beneath(workdir, name)
    with pytest.raises(FileNotFoundError):
        list_beneath(workdir, "no", files_max=10)


def test_a_folder_is_listed_without_links_and_special_files(workdir: Path) -> None:
    below_out = [OutputFile("out/deep/curve.csv", 3), OutputFile("out/model.bin", 5)]
    assert list_beneath(workdir, "out/", files_max=10) == below_out
    assert list_beneath(workdir, ".", files_max=10) == [OutputFile("metrics.json", 2), *below_out]
    assert list_beneath(workdir, "out/model.bin", files_max=10) == [OutputFile("out/model.bin", 5)]


def test_links_and_crowds_are_refused_as_folders(workdir: Path) -> None:
    for name in ("folder-link", "link", "pipe", ".."):
        with pytest.raises(UnsafePath):
            list_beneath(workdir, name, files_max=10)
    with pytest.raises(UnsafePath, match="more than 2 files"):
        list_beneath(workdir, ".", files_max=2)


@given(name=st.text(alphabet="./ab\0", max_size=12))
def test_no_name_leads_out(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.getbasetemp() / "names"
    (root / "work" / "a").mkdir(parents=True, exist_ok=True)
    for outside in (root / "a.b", root / "b"):
        outside.write_text("outside")
    (root / "work" / "b").write_text("inside")
    try:
        with open_beneath(root / "work", name) as file:
            assert file.read() == b"inside"
    except (UnsafePath, FileNotFoundError):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_workdir_is_handed_over_without_following_links(workdir: Path) -> None:
    hand_over(workdir, 64_333)
    assert (workdir / "out" / "deep" / "curve.csv").stat().st_uid == 64_333
    assert (workdir / "link").lstat().st_uid == 64_333
    assert (workdir.parent / "secret").stat().st_uid == 0
    assert workdir.parent.stat().st_uid == 0
