"""What a batch becomes on the chain: its transaction, signed over a fresh blockhash, with the fee that is due now."""

from dataclasses import dataclass

from billing.chains.lookup_tables import table_address
from billing.chains.payments import (
    growth_units,
    memo_units,
    payout_batch,
    payout_units,
    prioritized,
    pull_in,
    pull_units,
    table_growth,
)
from billing.chains.port import Blockhash, Chain
from billing.chains.transactions import SignedTransaction, memo_anchor
from billing.settling.batches import Batch
from billing.settling.priority_fees import unit_price
from billing.treasury.custody import Custody
from infra.settings import Settings


@dataclass(frozen=True, slots=True)
class Signed:
    """new_table: the address of the lookup table that it makes."""

    transaction: SignedTransaction
    blockhash: Blockhash
    new_table: str | None = None


def sign(batch: Batch, chain: Chain, custody: Custody, config: Settings) -> Signed:
    """The same payments as often as it is asked, each time another transaction. Raises ChainError."""
    units = _units(batch)
    price = unit_price(chain.priority_prices([custody.token_account]), units, batch.signings, config)
    # Last, since it ages from here on.
    slot = chain.finalized_slot() if batch.kind == "table" and batch.table is None else 0
    blockhash = chain.latest_blockhash()
    if batch.kind == "anchor":
        priority = prioritized(units, price)
        anchor = memo_anchor(payer=custody.signer, memo=batch.memo, blockhash=blockhash.value, priority=priority)
        return Signed(anchor, blockhash)
    if batch.kind == "table":
        growth = table_growth(
            treasury=custody.signer,
            address=batch.table.address if batch.table is not None else None,
            recent_slot=slot,
            entries=batch.entries,
            memo=batch.memo,
            blockhash=blockhash.value,
            unit_price_microlamports=price,
        )
        made = table_address(custody.signer.pubkey(), slot) if batch.table is None else None
        return Signed(growth, blockhash, made)
    if batch.pull is not None:
        pulled = pull_in(
            treasury=custody.signer,
            mint=custody.mint,
            pull=batch.pull,
            memo=batch.memo,
            blockhash=blockhash.value,
            unit_price_microlamports=price,
        )
        return Signed(pulled, blockhash)
    paid = payout_batch(
        treasury=custody.signer,
        mint=custody.mint,
        payments=batch.payments,
        memo=batch.memo,
        blockhash=blockhash.value,
        unit_price_microlamports=price,
        table=batch.table,
    )
    return Signed(paid, blockhash)


def _units(batch: Batch) -> int:
    match batch.kind:
        case "anchor":
            return memo_units(batch.memo)
        case "table":
            return growth_units(batch.memo)
        case "pull":
            return pull_units(batch.memo)
        case _:
            return payout_units(batch.payments, batch.memo)
