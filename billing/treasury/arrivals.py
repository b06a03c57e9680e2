"""What of a finalized chain transaction counts as a deposit. Pure: no session, no network.

The instructions say what was asked for; only the change of the treasury's own token account says what was moved:
whatever else somebody gives into the treasury's name is not where payouts come from.
"""

from dataclasses import dataclass

from billing.chains.port import ChainTransaction

WHOLE_TRANSACTION = -1
"""Stands for the instruction where a wallet program made the transfer, so that no top-level instruction shows it."""
REMAINDER = -2
"""Stands for the instruction where an operator assigned what no deposit's reference explained."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """So much for one deposit; signature and instruction name it for ever."""

    signature: str
    instruction: int
    amount_microusd: int


def arrivals(transaction: ChainTransaction, *, account: str, reference: str) -> list[Arrival]:
    """What this transaction brought to the token account under the reference; nothing if it failed or moved less."""
    moved = transaction.account_delta(account)
    if transaction.failure is not None or moved <= 0:
        return []
    into = [item for item in transaction.transfers if item.destination == account != item.source]
    marked = [item for item in into if reference in item.references]
    if marked:
        if sum(item.amount for item in into) > moved:
            return []
        return [Arrival(transaction.signature, item.instruction, item.amount) for item in marked]
    if reference in transaction.account_keys and not any(item.references for item in into):
        return [Arrival(transaction.signature, WHOLE_TRANSACTION, moved)]
    return []
