"""Watching: asks the chain for the transfers that deposits announced, and has them credited."""

import structlog

from billing.chains.port import Chain, ChainError
from billing.chains.transactions import associated_token_address
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival, arrivals
from billing.treasury.deposits import Watched
from infra.database import Database
from market.clock import Clock

log = structlog.get_logger(__name__)
DEPOSITS_MAX = 20
TRANSACTIONS_MAX = 20
"""Transactions of one reference that one look reads; the oldest first, so that none is passed over."""


def watch(database: Database, chain: Chain, clock: Clock, limit: int = DEPOSITS_MAX) -> int:
    """Look for every deposit that is due; returns the micro-USDC credited. An RPC that is away costs only time."""
    with database.read() as session:
        due = deposits.due(session, clock.now(), limit)
    credited = 0
    for deposit in due:
        try:
            found, arriving = _found(chain, deposit)
        except ChainError as error:
            log.warning("deposit_watch_waits", deposit_id=deposit.deposit_id, error=str(error))
            return credited
        with database.transaction() as session:
            credited += deposits.credit(session, deposit.deposit_id, found, clock.now(), arriving)
    return credited


def _found(chain: Chain, deposit: Watched) -> tuple[list[Arrival], list[Arrival]]:
    """What is finalized, and what was seen and may still be taken back."""
    history = chain.signatures_for_address(deposit.reference, finalized=False)
    fresh = [line.signature for line in reversed(history) if not line.failed and line.signature not in deposit.credited]
    account = associated_token_address(deposit.recipient, deposit.mint)
    found: list[Arrival] = []
    arriving: list[Arrival] = []
    for signature in fresh[:TRANSACTIONS_MAX]:
        final = chain.read_transaction(signature)
        transaction = final or chain.read_transaction(signature, finalized=False)
        if transaction is not None:
            brought = arrivals(transaction, account=account, reference=deposit.reference)
            (found if final is not None else arriving).extend(brought)
    return found, arriving
