"""Outputs arrive whole and checked in the one folder, or not at all."""

import hashlib
from pathlib import Path

import pytest
from served_market import Answer, ServedMarket
from views import JOB_ID

from gridbay.client import Gridbay
from gridbay.client.downloads import DamagedOutput, place_of
from market.customer_api import OutputView
from market.errors import InvalidInput, NotFound

CONTENT = b"accuracy 0.98\n" * 1000


def output(market: ServedMarket, path: str = "out/metrics.txt", content: bytes = CONTENT) -> OutputView:
    return OutputView(
        path=path,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        url=f"{market.url}/storage/key?signature=1",
    )


def fetch(market: ServedMarket, folder: Path, *outputs: OutputView) -> list[Path]:
    market.on(f"GET /v1/jobs/{JOB_ID}/outputs", Answer(list(outputs)))
    with Gridbay(market.url, "gbc_secret", patience_seconds=0) as sdk:
        return sdk.download_outputs(JOB_ID, folder)


def test_outputs_lie_below_the_folder(market: ServedMarket, tmp_path: Path) -> None:
    market.on("GET /storage/{}", Answer(CONTENT))
    assert fetch(market, tmp_path, output(market)) == [tmp_path / "out" / "metrics.txt"]
    assert (tmp_path / "out" / "metrics.txt").read_bytes() == CONTENT
    assert "authorization" not in market.asked("GET /storage/{}")[0].headers


@pytest.mark.parametrize("arrived", [CONTENT[:-1], CONTENT + b"x", CONTENT[::-1]])
def test_what_is_damaged_is_not_kept(market: ServedMarket, tmp_path: Path, arrived: bytes) -> None:
    (tmp_path / "metrics.txt").write_text("the old one")
    market.on("GET /storage/{}", Answer(arrived))
    with pytest.raises(DamagedOutput):
        fetch(market, tmp_path, output(market, "metrics.txt"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("metrics.txt", "the old one")]


def test_an_expired_url_is_a_refusal(market: ServedMarket, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        fetch(market, tmp_path, output(market))
    assert list(tmp_path.rglob("*.txt*")) == []


@pytest.mark.parametrize("path", ["/etc/cron.d/x", "../x", "a/../../x", "a\\..\\x", "", ".", "x\0y"])
def test_no_path_leads_out_of_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="leaves the folder"):
        place_of(path, tmp_path)


def test_no_link_leads_out_of_the_folder(market: ServedMarket, tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    market.on("GET /storage/{}", Answer(CONTENT))
    with pytest.raises(InvalidInput, match="leads out of it"):
        fetch(market, folder, output(market))
    assert list(outside.iterdir()) == []
