"""Settling: carries batches to the chain exactly once, whatever dies in between.

A signing is stored before it is sent. Its bytes are sent again until it is finalized; only when it failed, or can be
proven never to land, is the batch signed anew. No network call happens inside a transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import func, select

from billing.chains.payments import payout_batch
from billing.chains.port import Chain, ChainError, SignatureState, SignatureStatus, Simulation
from billing.chains.transactions import SignedTransaction, memo_anchor
from billing.settling import batches
from billing.settling.batches import Batch, Live
from billing.treasury.custody import Custody
from infra.database import Database
from market.clock import Clock
from market.failpoints import failpoint

log = structlog.get_logger(__name__)
_SENDER = 0x67726964_0002


class Settler:
    """Advances every open batch by what can be done now."""

    def __init__(self, database: Database, chain: Chain, custody: Custody, clock: Clock) -> None:
        self._database, self._chain, self._custody, self._clock = database, chain, custody, clock

    def run(self) -> None:
        """One pass. A second sender at the same time does nothing; one after a crash goes on where this one was."""
        with sender_lock(self._database) as alone:
            if not alone:
                return
            with self._database.transaction() as session:
                batches.prepare(session, self._clock.now())
            with self._database.read() as session:
                work = batches.open_batches(session)
            try:
                self._follow([batch for batch in work if batch.live is not None])
            except ChainError as error:
                # What can be asked again is asked by the next pass; new signings do not wait for it.
                log.warning("settlement_waits", error=str(error))
            for batch in work:
                if batch.live is None:
                    self._guarded(batch)

    def _follow(self, sent: Sequence[Batch]) -> None:
        """What became of the live signings; those that the chain has not seen are sent again or given up."""
        signatures = [batch.live.signature for batch in sent if batch.live is not None]
        for batch, status in zip(sent, self._chain.signature_statuses(signatures), strict=True):
            assert batch.live is not None
            if status.state is SignatureState.FINALIZED:
                self._conclude(batch, batch.live, status)
            elif status.state is SignatureState.UNKNOWN:
                self._insist(batch, batch.live)

    def _conclude(self, batch: Batch, live: Live, status: SignatureStatus) -> None:
        if status.failure is not None:
            log.error("settlement_failed", batch_id=batch.batch_id, reason=status.failure.reason)
            self._give_up(batch, live, "failed", status.failure.reason)
        elif self._is_shown(batch, live):
            with self._database.transaction() as session:
                batches.finalized(session, batch.batch_id, live.signature, self._clock.now())

    def _is_shown(self, batch: Batch, live: Live) -> bool:
        """Whether the finalized transaction itself shows the memo and every payment: one answer alone may be a lie."""
        transaction = self._chain.read_transaction(live.signature)
        if transaction is None:
            return False
        owed: dict[str, int] = {}
        for payment in batch.payments:
            owed[payment.owner] = owed.get(payment.owner, 0) + payment.amount_microusd
        paid = {owner: transaction.token_delta(owner, self._custody.mint) for owner in owed}
        shown = transaction.failure is None and batch.memo in transaction.memos and paid == owed
        if not shown:
            log.error("settlement_differs", batch_id=batch.batch_id, signature=live.signature, owed=owed, paid=paid)
        return shown

    def _insist(self, batch: Batch, live: Live) -> None:
        if self._chain.finalized_block_height() <= live.last_valid_block_height:
            self._chain.send(live.wire)
        elif self._chain.is_expired_everywhere(live.signature, live.last_valid_block_height):
            self._give_up(batch, live, "expired", f"not landed by block {live.last_valid_block_height}")

    def _give_up(self, batch: Batch, live: Live, outcome: str, detail: str) -> None:
        with self._database.transaction() as session:
            batches.gone(session, batch.batch_id, live.signature, outcome, detail)

    def _guarded(self, batch: Batch) -> None:
        """One batch that cannot be signed or sent now does not stop the others."""
        try:
            self._sign_and_send(batch)
        except ChainError as error:
            log.warning("settlement_waits", batch_id=batch.batch_id, error=str(error))

    def _sign_and_send(self, batch: Batch) -> None:
        owners = [payment.owner for payment in batch.payments]
        if self._custody.address in owners:
            # A transfer to oneself succeeds and moves nothing.
            self._return(batch, owners.index(self._custody.address), "the wallet is the market's own treasury")
            return
        blockhash = self._chain.latest_blockhash()
        signed = self._signed(batch, blockhash.value)
        simulation = self._chain.simulate(signed.wire)
        if simulation.failure is not None:
            self._blame(batch, simulation)
            return
        with self._database.transaction() as session:
            stored = batches.sign(session, batch, signed, blockhash.last_valid_block_height, self._clock.now())
        failpoint("settlement.signed")
        if stored:
            self._chain.send(signed.wire)
            failpoint("settlement.sent")

    def _signed(self, batch: Batch, blockhash: str) -> SignedTransaction:
        if not batch.payments:
            return memo_anchor(payer=self._custody.treasury, memo=batch.memo, blockhash=blockhash)
        return payout_batch(
            treasury=self._custody.treasury,
            mint=self._custody.mint,
            payments=batch.payments,
            memo=batch.memo,
            blockhash=blockhash,
        )

    def _blame(self, batch: Batch, simulation: Simulation) -> None:
        """A payment that its recipient cannot take leaves the batch; a treasury that is short keeps it waiting."""
        failure = simulation.failure
        assert failure is not None
        held = self._chain.token_balance(self._custody.address, self._custody.mint)
        index = failure.instruction
        if index is None or index >= len(batch.payments) or held < batch.total_microusd:
            log.error("settlement_refused", batch_id=batch.batch_id, reason=failure.reason, treasury_microusd=held)
            return
        wallet = batch.payments[index].owner
        detail = (
            f"the chain refuses to pay {wallet} ({failure.reason}): it needs a token account of {self._custody.mint}"
        )
        self._return(batch, index, detail)

    def _return(self, batch: Batch, index: int, detail: str) -> None:
        log.warning("payout_returned", payout_id=batch.payout_ids[index], detail=detail)
        with self._database.transaction() as session:
            batches.drop_payment(session, batch, index, detail, self._clock.now())


@contextmanager
def sender_lock(database: Database) -> Iterator[bool]:
    """Whether this process is the one sender. Held by a connection, so that it ends with the process."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = bool(connection.scalar(select(func.pg_try_advisory_lock(_SENDER))))
        try:
            yield alone
        finally:
            if alone:
                connection.execute(select(func.pg_advisory_unlock(_SENDER)))
