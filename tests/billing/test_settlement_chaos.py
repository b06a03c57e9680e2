"""On a chain that loses, delays, lies and takes back, killed at every step, settlement pays each payout exactly once.

The naive ways to settle are run by the same test: it must see each of them pay too much.
"""

import shutil
from pathlib import Path

import pytest
from emptying import empty
from pydantic import TypeAdapter
from settlement_world import STUCK_SECONDS, Report, SettlementWorld
from soak_size import size as sized
from soak_size import write_figures

from billing.chains.port import SignatureState
from billing.settling import batches, signing
from billing.settling.batches import Batch, Live
from billing.settling.settlement import Settler
from infra.database import Database

SEEDS = sized(5, 20)
PROVIDERS, ROUNDS = sized(20, 100), sized(4, 8)
"""And a customer that withdraws for every four providers: 1,000 payouts a seed in a soak, which is done in
pieces by naming a seed: GRIDBAY_SOAK=1 pytest "tests/billing/test_settlement_chaos.py::<test>[SEED]"."""
NAIVE_SEEDS_MAX = 10


def chaos(database: Database, tmp_path: Path, seed: int, settler: type[Settler] = Settler, **size: int) -> Report:
    """A world of its own: what the one before left behind is cleared away."""
    with database.engine.begin() as connection:
        empty(connection)
    folder = tmp_path / str(seed)
    try:
        return SettlementWorld(
            database, folder, seed, size.get("providers", PROVIDERS), size.get("rounds", ROUNDS), settler
        ).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_chain_is_the_ledger_whatever_fails_and_dies(database: Database, tmp_path: Path, seed: int) -> None:
    report = chaos(database, tmp_path, seed)
    print(
        f"\nseed {seed}: {report.payouts} payouts, {report.pulls} pulls, {report.kills} kills, {report.passes} passes, "
        f"settled {report.settled_after:.0f} s after the last fault, {dict(report.signings)}, {dict(report.faults)}"
    )
    write_figures(
        f"settlement chaos, seed {seed}",
        {
            "payouts": report.payouts,
            "pulls_tried": report.pulls_tried,
            "pulls": report.pulls,
            "kills": report.kills,
            "overpaid": report.overpaid,
            "stuck": len(report.stuck),
            "settled_after_seconds": round(report.settled_after),
            "faults": report.faults.total(),
        },
    )
    assert report.overpaid == 0 and report.stuck == []
    assert report.paid == report.owed
    assert report.payouts >= PROVIDERS * 5 // 4 * ROUNDS * 0.9
    assert report.settled_after <= STUCK_SECONDS
    # How many of them depends on what was revoked and emptied first.
    assert report.pulls_tried > 0, "those who had approved were pulled from"
    assert report.kills > 5 and report.faults["blocks taken back"] > 0, "nothing was tried"


class ResignsOnNull(Settler):
    """Takes "unknown" for "never landed"."""

    def _advance(self, batch: Batch, live: Live, state: SignatureState) -> None:
        if state is SignatureState.UNKNOWN:
            self._give_up(batch, live, "expired", "the RPC does not know it")
        else:
            super()._advance(batch, live, state)


class ResignsAtProcessedHeight(Settler):
    """Compares the last valid height with the newest block, which may be taken back."""

    def _advance(self, batch: Batch, live: Live, state: SignatureState) -> None:
        ask = self._chain._ask_one  # type: ignore[attr-defined]
        height = ask("getBlockHeight", [{"commitment": "processed"}], TypeAdapter(int))
        if state is SignatureState.UNKNOWN and height > live.last_valid_block_height:
            self._give_up(batch, live, "expired", "the newest block is later")
        else:
            super()._advance(batch, live, state)


class SendsBeforeItStores(Settler):
    """Forgets, when it dies, what it has sent."""

    def _sign_and_send(self, batch: Batch) -> None:
        signed = signing.sign(batch, self._chain, self._custody, self._config)
        if self._chain.simulate(signed.transaction.wire).failure is not None:
            return
        self._chain.send(signed.transaction.wire)
        last_valid = signed.blockhash.last_valid_block_height
        with self._database.transaction() as session:
            batches.sign(session, batch, signed.transaction, last_valid, self._clock.now(), signed.new_table)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("naive", [ResignsOnNull, ResignsAtProcessedHeight, SendsBeforeItStores])
def test_the_naive_ways_are_seen_to_overpay(
    database: Database, tmp_path: Path, naive: type[Settler], capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(NAIVE_SEEDS_MAX):
        report = chaos(database, tmp_path, seed, naive, providers=12, rounds=3)
        if report.overpaid:
            break
    with capsys.disabled():
        print(f"\n{naive.__name__}: seed {seed} overpaid {report.overpaid} of {report.owed} micro-USDC")
    assert report.overpaid > 0


def test_a_plan_is_the_same_misfortune_each_time(database: Database, tmp_path: Path) -> None:
    first, again = (chaos(database, tmp_path, 7, providers=3, rounds=1) for _ in range(2))
    assert (first.faults, first.kills, first.signings) == (again.faults, again.kills, again.signings)
