"""`gridbay provider proofs` and `circuit`: what they show and ask."""

import json
from typing import Any

import pytest
from served_market import Answer, ServedMarket
from typed_command import Gridbay
from views import NOON

from gridbay.client.proofs import DeviceProof, Measured


def device(**more: Any) -> DeviceProof:
    measured = [
        Measured(kind="matrix_operations_per_second", value=1_234 * 10**12, by_market=True, measured_at=NOON),
        Measured(kind="memory_bytes_per_second", value=2_900 * 10**9, by_market=True, measured_at=NOON),
    ]
    known: dict[str, Any] = {
        "node_id": "node_amber", "node_name": "amber", "device": "GPU-1", "model": "NVIDIA H100 80GB HBM3",
        "state": "verified", "score": 875, "proven_at": NOON, "engine": "cupy", "measured": measured,
    }  # fmt: skip
    return DeviceProof(**{**known, **more})


@pytest.fixture
def provider(logged_in: ServedMarket) -> ServedMarket:
    found = [device(), device(device="GPU-2", state="banned", proven_at=None, measured=[])]
    body = json.dumps({"items": [item.model_dump(mode="json") for item in found]}).encode()
    logged_in.on("GET /provider/v1/proofs", Answer(body))
    return logged_in


def test_devices_are_shown_with_their_standing_and_rates(provider: ServedMarket, gridbay: Gridbay) -> None:
    ended = gridbay("provider", "proofs")
    assert ended.code == 0, ended.err
    for word in ("amber", "GPU-1", "verified", "1,234 TOP/s", "GPU-2", "banned", "not yet"):
        assert word in ended.out
    quiet = gridbay("provider", "proofs", "-o", "quiet")
    assert quiet.out.splitlines() == ["node_amber GPU-1", "node_amber GPU-2"]


def test_a_ban_is_appealed_by_the_nodes_name(provider: ServedMarket, gridbay: Gridbay) -> None:
    provider.on("POST /provider/v1/nodes/{}/devices/{}/appeal", Answer(b"", status=204))
    ended = gridbay("provider", "proofs", "appeal", "GPU-2", "amber")
    assert ended.code == 0 and "challenged again" in ended.out
    missing = gridbay("provider", "proofs", "appeal", "GPU-3", "amber")
    assert missing.code != 0 and "no node amber" in missing.err


def test_a_circuit_is_watts_or_none(provider: ServedMarket, gridbay: Gridbay) -> None:
    provider.on("PUT /provider/v1/circuit", lambda seen: Answer(json.dumps(seen.json()).encode()))
    assert "3600 W" in gridbay("provider", "circuit", "3600").out
    assert "full power" in gridbay("provider", "circuit", "none").out
    assert gridbay("provider", "circuit", "much").code != 0
