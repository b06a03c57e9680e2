"""What a payout costs in lamports: through a lookup table, in a legacy batch, with a new account; on the real runtime.

The transactions and the fee policy are the product's, at its default settings; the cost is what the treasury's SOL fell
by. The deposits of rent that a table's entry and a token account lock are named apart: they are not spent by a payout.
"""

import asyncio
import json
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from solders.keypair import Keypair

from billing.chains.keypairs import load_keypair
from billing.chains.local.server import LocalChainServer
from billing.chains.local.slots import Timing
from billing.chains.lookup_tables import ENTRIES_PER_TRANSACTION_MAX, Table, table_address
from billing.chains.payments import (
    NEW_ACCOUNTS_MAX,
    PAYMENTS_MAX,
    TABLE_PAYMENTS_MAX,
    Payment,
    growth_units,
    payout_batch,
    payout_units,
    table_growth,
)
from billing.chains.rpc import Rpc
from billing.chains.solana import SolanaChain
from billing.chains.transactions import associated_token_address
from billing.settling.priority_fees import unit_price
from infra.settings import Settings
from market.ids import new_id

TARGET: Final = 130
NOSANA_JOB, AKASH_BID = 35_000, 5_200
BATCHES: Final = 5


class Till:
    """A local chain whose treasury pays; time passes when told."""

    def __init__(self, folder: Path) -> None:
        self._seconds = 0.0
        timing = Timing(slot_seconds=1.0, confirmed_after=1, finalized_after=3)
        self.server = LocalChainServer(folder, timing=timing, clock=lambda: self._seconds)
        self.chain = SolanaChain([self.server.url])
        self.treasury = load_keypair(self.server.market.treasury_keypair_path)
        self.mint = self.server.market.mint
        self._config = Settings()
        threading.Thread(target=self.server.run, args=(0.02,), daemon=True).start()
        self.ask("gridbay_mintTestUsdc", str(self.treasury.pubkey()), 10**12)

    def ask(self, method: str, *params: Any) -> None:
        asyncio.run(Rpc(timeout=10.0).call(self.server.url, method, list(params)))
        self._seconds += 4

    def send(self, wire: bytes, signature: str) -> int:
        """The lamports that it took from the treasury; fails unless it was finalized without error."""
        before = self.chain.sol_balance(str(self.treasury.pubkey()))
        self.chain.send(wire)
        self._seconds += 4
        status = self.chain.finalized_status(signature)
        assert status is not None and status.failure is None, status
        return before - self.chain.sol_balance(str(self.treasury.pubkey()))

    def pay(self, payments: Sequence[Payment], table: Table | None = None) -> float:
        """Lamports per payment."""
        memo = f"gridbay/payout/v1 {new_id('batch')}"
        units = payout_units(payments, memo)
        signed = payout_batch(
            treasury=self.treasury,
            mint=self.mint,
            payments=payments,
            memo=memo,
            blockhash=self.chain.latest_blockhash().value,
            unit_price_microlamports=unit_price(self.chain.priority_prices([]), units, 0, self._config),
            table=table,
        )
        return self.send(signed.wire, signed.signature) / len(payments)

    def table_of(self, owners: Sequence[str]) -> tuple[Table, int]:
        """A table of their accounts, and what it took, rent and fees."""
        wallets = [associated_token_address(owner, self.mint) for owner in (str(self.treasury.pubkey()), *owners)]
        entries, slot, took = [self.mint, *wallets], self.chain.finalized_slot(), 0
        address = table_address(self.treasury.pubkey(), slot)
        for start in range(0, len(entries), ENTRIES_PER_TRANSACTION_MAX):
            memo = f"gridbay/table/v1 {new_id('batch')}"
            signed = table_growth(
                treasury=self.treasury,
                address=address if start else None,
                recent_slot=slot,
                entries=entries[start : start + ENTRIES_PER_TRANSACTION_MAX],
                memo=memo,
                blockhash=self.chain.latest_blockhash().value,
                unit_price_microlamports=unit_price([], growth_units(memo), 0, self._config),
            )
            took += self.send(signed.wire, signed.signature)
        assert self.chain.table_entries(address) == tuple(entries)
        return Table(address, tuple(entries)), took


def main() -> int:
    """Print a row per way to pay and one JSON line. Returns 1 where the target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        till = Till(Path(folder))
        owners = [str(Keypair().pubkey()) for _ in range(TABLE_PAYMENTS_MAX)]
        made = [
            till.pay([Payment(owner, 5, new_account=True) for owner in owners[start : start + NEW_ACCOUNTS_MAX]])
            for start in range(0, len(owners), NEW_ACCOUNTS_MAX)
        ]
        table, took = till.table_of(owners)
        payments = [Payment(owner, 1_000_000) for owner in owners]
        tabled = [till.pay(payments, table) for _ in range(BATCHES)]
        legacy = [till.pay(payments[:PAYMENTS_MAX]) for _ in range(BATCHES)]
        till.server.stop()
        till.server.close()
    figures = {
        "lamports_per_payout": round(max(tabled), 1),
        "legacy": round(max(legacy), 1),
        "with_new_account": round(max(made)),
        "table_deposit_per_wallet": round(took / len(owners)),
    }
    for name, figure in figures.items():
        print(f"{name:<26}{figure:>12,}")
    kept = figures["lamports_per_payout"] <= TARGET
    answer = {"name": "settlement_cost", "ratio": round(figures["lamports_per_payout"] / AKASH_BID, 4)}
    print(json.dumps({**answer, "target": TARGET, **figures, "nosana": NOSANA_JOB, "akash": AKASH_BID, "kept": kept}))
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
