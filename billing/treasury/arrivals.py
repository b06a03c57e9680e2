"""What of a finalized chain transaction counts as a deposit. Pure: no session, no network.

The instructions say what was asked for; only the change of the treasury's token balance says what was moved.
"""

from dataclasses import dataclass

from billing.chains.port import ChainTransaction

WHOLE_TRANSACTION = -1
"""Stands for the instruction where a wallet program made the transfer, so that no top-level instruction shows it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """So much for one deposit; signature and instruction name it for ever."""

    signature: str
    instruction: int
    amount_microusd: int


def arrivals(transaction: ChainTransaction, *, recipient: str, mint: str, reference: str) -> list[Arrival]:
    """What this transaction brought to the recipient under the reference; nothing if it failed or moved less."""
    moved = transaction.token_delta(recipient, mint)
    if transaction.failure is not None or moved <= 0:
        return []
    own = {change.account for change in transaction.token_changes if (change.owner, change.mint) == (recipient, mint)}
    into = [item for item in transaction.transfers if item.destination in own and item.source not in own]
    marked = [item for item in into if reference in item.references]
    if marked:
        if sum(item.amount for item in into) > moved:
            return []
        return [Arrival(transaction.signature, item.instruction, item.amount) for item in marked]
    if reference in transaction.account_keys and not any(item.references for item in into):
        return [Arrival(transaction.signature, WHOLE_TRANSACTION, moved)]
    return []
