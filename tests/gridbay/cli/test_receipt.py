"""`gridbay receipt verify` needs no market; what does not hold is told, and its exit status says it too."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from served_market import ServedMarket, problem
from typed_command import Gridbay
from views import JOB_ID
from waiting import wait_for

from billing.chains.keypairs import load_keypair
from billing.chains.local.server import LocalChainServer
from billing.chains.transactions import memo_anchor
from gridbay.client.anchors import rpc
from market import merkle
from market.receipts import EpochRoot, PublicLine, Receipt, ReceiptLine, line_salt


def receipt(treasury: str | None = None, signature: str | None = None, **more: int) -> Receipt:
    line = PublicLine(
        line_id="line_1", job_id=JOB_ID, lease_id="lease_1", window_number=0, organization="a" * 32, provider="b" * 32,
        unit="cpu", quantity_milli=1000, price_microusd_per_unit_hour=20_000, fee_basis_points=500, from_ms=0,
        to_ms=7_300, charged_before_microusd=0, amount_microusd=40, provider_microusd=38, fee_microusd=2,
        rounding_microusd=0, captured_at="2026-11-21T12:00:00Z", **more,
    )  # fmt: skip
    salt = line_salt(b"secret" * 6, line.line_id)
    rows = merkle.levels([line.leaf(salt)])
    root = EpochRoot.over(rows[-1][0], epoch=3, line_count=1, total_microusd=40)
    entry = ReceiptLine(line=line, salt=salt.hex(), epoch=root, index=0, path=[], anchor_signature=signature)
    return Receipt(job_id=JOB_ID, lines=[entry], total_microusd=40, treasury=treasury)


def anchored(chain: LocalChainServer) -> Receipt:
    key = load_keypair(chain.market.treasury_keypair_path)
    with httpx.Client() as http:
        latest = rpc(http, chain.url, "getLatestBlockhash", [{"commitment": "confirmed"}])["value"]["blockhash"]
        wire = memo_anchor(payer=key, memo=receipt().lines[0].epoch.memo, blockhash=latest).wire
        signature = rpc(http, chain.url, "sendTransaction", [base64.b64encode(wire).decode(), {"encoding": "base64"}])
        wait_for(lambda: rpc(http, chain.url, "getTransaction", [signature, {"commitment": "finalized"}]))
    return receipt(chain.market.treasury, signature)


def write(path: Path, value: Receipt, change: Callable[[dict[str, object]], None] | None = None) -> Path:
    document = json.loads(value.model_dump_json())
    if change is not None:
        change(document)
    path.write_text(json.dumps(document))
    return path


def test_offline(tmp_path: Path, gridbay: Gridbay) -> None:
    ended = gridbay("receipt", "verify", write(tmp_path / "r.json", receipt()))
    assert (ended.code, ended.err) == (0, "")
    assert "receipt verified offline" in ended.out
    assert "0.00004 USDC" in ended.out


def test_what_a_price_was_made_of_is_told_and_recomputed(tmp_path: Path, gridbay: Gridbay) -> None:
    made = {"unit_microusd_per_hour": 18_000, "memory_bytes": 2 * 2**30, "memory_microusd_per_gib_hour": 1_000}
    ended = gridbay("receipt", "verify", write(tmp_path / "r.json", receipt(**made)))
    assert "0.02 a unit: 0.018 the unit, 2 GiB of memory at 0.001" in ended.out
    ended = gridbay("receipt", "verify", write(tmp_path / "r.json", receipt(**made | {"memory_bytes": 2**30})))
    assert (ended.code, "its price does not follow from what it was made of" in ended.out) == (1, True)


def test_against_the_chain(tmp_path: Path, gridbay: Gridbay, chain: LocalChainServer) -> None:
    proof = anchored(chain)
    path = write(tmp_path / "r.json", proof)
    ended = gridbay("receipt", "verify", path, "--rpc", chain.url)
    assert (ended.code, ended.out.splitlines()[-1]) == (0, "receipt verified")
    assert f"epoch 3 in {proof.lines[0].anchor_signature}" in ended.out
    assert "the treasury that the receipt names" in ended.out
    assert gridbay("receipt", "verify", path, "--rpc", chain.url, "--treasury", chain.market.treasury).code == 0
    ended = gridbay("receipt", "verify", path, "--rpc", chain.url, "--treasury", chain.market.faucet)
    assert (ended.code, "not by the treasury" in ended.out) == (1, True)


def test_a_changed_receipt_does_not_hold(tmp_path: Path, gridbay: Gridbay) -> None:
    def cheaper(document: dict[str, object]) -> None:
        document["total_microusd"] = 39

    ended = gridbay("receipt", "verify", write(tmp_path / "r.json", receipt(), cheaper))
    assert ended.code == 1
    assert "does not hold: the lines add up to 40 micro-USDC, the receipt says 39" in ended.out
    assert "verified" not in ended.out


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "gridbay/receipt/v9"}'])
def test_what_is_no_receipt_is_a_refusal(tmp_path: Path, gridbay: Gridbay, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    ended = gridbay("receipt", "verify", tmp_path / "r.json")
    assert (ended.code, ended.out) == (2, "")
    assert "r.json is no receipt" in ended.err
    assert gridbay("receipt", "verify", tmp_path / "missing.json").code == 2


def test_it_is_fetched_when_its_epoch_is_closed(logged_in: ServedMarket, gridbay: Gridbay, tmp_path: Path) -> None:
    logged_in.on("GET /v1/jobs/{}/receipt", problem(503, "unavailable", "the epoch of this bill is not closed yet"))
    ended = gridbay("receipt", "get", JOB_ID)
    assert (ended.code, ended.out) == (3, "")
    assert "not closed yet" in ended.err
    logged_in.on("GET /v1/jobs/{}/receipt", receipt())
    assert gridbay("receipt", "get", JOB_ID, "-o", tmp_path / "r.json").code == 0
    assert gridbay("receipt", "verify", tmp_path / "r.json").code == 0
    assert Receipt.model_validate_json(gridbay("receipt", "get", JOB_ID).out) == receipt()
