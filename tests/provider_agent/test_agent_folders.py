"""Folders that are removed: few and small files at once, everything else by rm; links are never followed."""

import asyncio
from pathlib import Path

import pytest

from provider_agent.attempts.folders import FLAT_FILES_MAX, remove_tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def test_few_small_files_are_removed_without_a_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for number in range(FLAT_FILES_MAX):
        (folder / str(number)).write_text("small")
    assert asyncio.run(remove_tree(folder))
    assert not folder.exists()
    assert asyncio.run(remove_tree(folder)), "what is gone is removed"


def test_whatever_else_a_command_left_goes_too_and_what_its_links_lead_to_stays(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("not of the folder")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "file").write_text("of the folder")
    (folder / "link").symlink_to(kept)
    assert asyncio.run(remove_tree(folder))
    assert not folder.exists()
    assert (kept / "file").exists()


def test_a_link_in_place_of_the_folder_leads_nowhere(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("not of the folder")
    link = tmp_path / "link"
    link.symlink_to(kept)
    assert asyncio.run(remove_tree(link))
    assert not link.is_symlink()
    assert (kept / "file").exists()
