"""A receipt holds against the chain only if its root is in a finalized transaction that the treasury signed."""

import base64
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from billing.chains.keypairs import load_keypair
from billing.chains.local.server import LocalChainServer
from billing.chains.local.slots import Timing
from billing.chains.transactions import memo_anchor
from gridbay.client import verify_anchors, verify_receipt
from gridbay.client.anchors import rpc
from market import merkle
from market.errors import Unavailable
from market.receipts import EpochRoot, PublicLine, Receipt, ReceiptLine, line_salt

TIMING = Timing(slot_seconds=1.0, confirmed_after=1, finalized_after=3)


class Chain:
    """A real local chain whose time passes only when a test says so."""

    def __init__(self, folder: Path) -> None:
        self._seconds = 0.0
        self._server = LocalChainServer(folder, timing=TIMING, clock=lambda: self._seconds)
        self.url, self.treasury = self._server.url, self._server.market.treasury
        self.keys = {name: load_keypair(folder / f"{name}.json") for name in ("treasury", "faucet")}
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()

    def close(self) -> None:
        self._server.stop()
        self._thread.join()
        self._server.close()

    def anchor(self, memo: str, signer: str = "treasury") -> str:
        with httpx.Client() as http:
            latest = rpc(http, self.url, "getLatestBlockhash", [{"commitment": "confirmed"}])["value"]["blockhash"]
            wire = memo_anchor(payer=self.keys[signer], memo=memo, blockhash=latest).wire
            encoded = base64.b64encode(wire).decode()
            return str(rpc(http, self.url, "sendTransaction", [encoded, {"encoding": "base64", "skipPreflight": True}]))

    def confirm(self) -> None:
        self._seconds += TIMING.confirmed_after * TIMING.slot_seconds

    def finalize(self) -> None:
        self._seconds += TIMING.finalized_after * TIMING.slot_seconds


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    chain = Chain(tmp_path / "chain")
    yield chain
    chain.close()


def receipt(signature: str | None = None, treasury: str | None = None, epoch: int = 3) -> Receipt:
    """One line of 7 seconds of a CPU at 0.02 an hour, among two in its epoch."""
    line = PublicLine(
        line_id="line_1", job_id="job_1", lease_id="lease_1", window_number=0, organization="a" * 32, provider="b" * 32,
        unit="cpu", quantity_milli=1000, price_microusd_per_unit_hour=20_000, fee_basis_points=500, from_ms=0,
        to_ms=7_300, charged_before_microusd=0, amount_microusd=40, provider_microusd=38, fee_microusd=2,
        rounding_microusd=0, captured_at="2026-11-21T12:00:00Z",
    )  # fmt: skip
    salt = line_salt(b"secret" * 6, line.line_id)
    rows = merkle.levels([line.leaf(salt), b"\1" * 32])
    root = EpochRoot.over(rows[-1][0], epoch=epoch, line_count=2, total_microusd=99)
    entry = ReceiptLine(
        line=line, salt=salt.hex(), epoch=root, index=0, path=[s.hex() for s in merkle.path(rows, 0)],
        anchor_signature=signature,
    )  # fmt: skip
    return Receipt(job_id="job_1", lines=[entry], total_microusd=40, treasury=treasury)


def test_an_anchored_root_is_found(chain: Chain) -> None:
    signature = chain.anchor(receipt().lines[0].epoch.memo)
    shown = receipt(signature, chain.treasury)
    assert verify_receipt(shown).ok
    chain.confirm()
    assert verify_anchors(shown, chain.url).problems == (
        f"epoch 3, transaction {signature}: the chain has no such finalized transaction",
    )
    chain.finalize()
    verdict = verify_anchors(shown, chain.url)
    assert verdict.ok, verdict.problems
    assert [(anchor.epoch, anchor.signature) for anchor in verdict.anchors] == [(3, signature)]


def test_the_script_of_the_docs_finds_it_too(chain: Chain, tmp_path: Path) -> None:
    signature, foreign = (chain.anchor(receipt().lines[0].epoch.memo, signer) for signer in ("treasury", "faucet"))
    chain.finalize()
    for anchor, status in ((signature, 0), (foreign, 1)):
        file = tmp_path / "receipt.json"
        file.write_text(receipt(anchor, chain.treasury).model_dump_json())
        command = [sys.executable, "docs/verify_receipt.py", str(file), chain.url, chain.treasury]
        assert subprocess.run(command, check=False, cwd=Path(__file__).parents[3], timeout=60).returncode == status


def test_another_root_or_another_signer_does_not_count(chain: Chain) -> None:
    wrong = chain.anchor(receipt(epoch=4).lines[0].epoch.memo)
    foreign = chain.anchor(receipt().lines[0].epoch.memo, signer="faucet")
    chain.finalize()
    (problem,) = verify_anchors(receipt(wrong, chain.treasury), chain.url).problems
    assert "its memo is 'gridbay/epoch/v1 4 " in problem
    (problem,) = verify_anchors(receipt(foreign, chain.treasury), chain.url).problems
    assert f"not by the treasury {chain.treasury}" in problem


def test_whom_one_trusts_is_ones_own_choice(chain: Chain) -> None:
    faucet = str(chain.keys["faucet"].pubkey())
    foreign = chain.anchor(receipt().lines[0].epoch.memo, signer="faucet")
    chain.finalize()
    assert verify_anchors(receipt(foreign, faucet), chain.url).ok, "a forged receipt may name its own signer"
    problems = verify_anchors(receipt(foreign, faucet), chain.url, treasury=chain.treasury).problems
    assert len(problems) == 2
    assert not verify_anchors(receipt(foreign), chain.url).ok, "nobody named a treasury"


def test_what_is_not_anchored_is_told(chain: Chain) -> None:
    assert verify_anchors(receipt(None, chain.treasury), chain.url).problems == ("epoch 3 is not anchored yet",)


def test_an_rpc_that_does_not_answer_is_no_verdict() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        verify_anchors(receipt("5" * 88, "1" * 32), "http://127.0.0.1:9")
