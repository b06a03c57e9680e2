"""What is measured of a node beside a proof: once for all its devices, bounded, and nothing where it cannot be."""

import asyncio
from pathlib import Path

import pytest
from far_side import FarSide

from market.errors import Unavailable
from market.proof_api import NETWORK_BYTES, NodeSpeeds, ProofNetwork
from provider_agent.proving import speeds
from provider_agent.proving.speeds import AGAIN_SECONDS, NodeWide


class Market:
    """Answers where bytes may be sent to, and counts how often it was asked."""

    def __init__(self, url: str, size_bytes: int = 100_000) -> None:
        self._probe = ProofNetwork(upload_url=f"{url}/a", download_url=f"{url}/a", size_bytes=size_bytes)
        self.asked = 0

    async def __call__(self) -> ProofNetwork:
        self.asked += 1
        return self._probe


def measured(market: Market, folder: Path) -> NodeSpeeds:
    return asyncio.run(NodeWide(folder).measure(market))


def test_disk_and_network_are_measured_both_ways_and_nothing_is_left_behind(far: FarSide, tmp_path: Path) -> None:
    told = measured(Market(f"{far.url}/storage"), tmp_path)
    assert all(value for value in (told.disk_write, told.disk_read, told.network_up, told.network_down))
    assert len(far.blobs["a"]) == 100_000
    assert not far.complaints, "the credential is the portal's alone"
    assert list(tmp_path.iterdir()) == []


def test_one_device_measures_for_all_of_them_and_again_after_an_hour(far: FarSide, tmp_path: Path) -> None:
    now_s, market = 0.0, Market(f"{far.url}/storage")

    async def three_times() -> None:
        nonlocal now_s
        node = NodeWide(tmp_path, lambda: now_s)
        first, second = await asyncio.gather(node.measure(market), node.measure(market))
        assert (first.network_up is None, second) == (False, NodeSpeeds())
        now_s += AGAIN_SECONDS
        assert (await node.measure(market)).network_up

    asyncio.run(three_times())
    assert market.asked == 2


@pytest.mark.parametrize(
    "market",
    [Market("http://127.0.0.1:9"), Market("http://127.0.0.1:9", NETWORK_BYTES + 1)],
    ids=["storage is away", "more than was agreed on"],
)
def test_a_way_that_is_not_there_is_not_measured(market: Market, tmp_path: Path) -> None:
    told = measured(market, tmp_path)
    assert (told.network_up, told.network_down) == (None, None)
    assert told.disk_write
    assert list(tmp_path.iterdir()) == []


def test_a_portal_that_does_not_know_of_it_costs_the_network_alone(tmp_path: Path) -> None:
    async def refused() -> ProofNetwork:
        raise Unavailable("not here")

    assert asyncio.run(NodeWide(tmp_path).measure(refused)).disk_read


def test_a_way_that_is_too_slow_is_given_up(far: FarSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "TRANSFER_SECONDS_MAX", 0.0)
    assert measured(Market(f"{far.url}/storage"), tmp_path).network_up is None


def test_a_disk_that_cannot_be_written_is_not_measured(tmp_path: Path) -> None:
    assert speeds.disk(tmp_path / "not-there") == (None, None)
