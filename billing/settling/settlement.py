"""Settling: carries batches to the chain exactly once, whatever dies in between.

A signing is stored before it is sent. Its bytes are sent again until it is finalized; only when it failed, or can be
proven never to land, is the batch signed anew. No network call happens inside a transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import func, select

from billing.chains.payments import payment_of
from billing.chains.port import Chain, ChainError, Failure, SignatureState
from billing.settling import batches, newcomers, pulls, signing, withdrawals
from billing.settling.batches import Batch, Live
from billing.treasury.custody import Custody
from infra.database import Database
from infra.settings import Settings, settings
from market.clock import Clock
from market.failpoints import failpoint

log = structlog.get_logger(__name__)
_SENDER = 0x67726964_0002
_PASSING = ("BlockhashNotFound", "AccountNotFound", "InsufficientFundsForFee", "AddressLookup", "InvalidAddressLookup")
"""Refusals that no payment is to blame for: a treasury without SOL, an RPC that is behind."""


class Settler:
    """Advances every open batch by what can be done now."""

    def __init__(
        self, database: Database, chain: Chain, custody: Custody, clock: Clock, config: Settings | None = None
    ) -> None:
        self._database, self._chain, self._custody, self._clock = database, chain, custody, clock
        self._config = config or settings()

    def run(self) -> None:
        """One pass. A second sender at the same time does nothing; one after a crash goes on where this one was."""
        with sender_lock(self._database) as alone:
            if not alone:
                return
            with self._database.transaction() as session:
                withdrawals.open_due(session, self._clock.now(), self._config)
                pulls.drop_idle(session, self._clock.now())
                pulls.open_due(session, self._custody, self._clock.now(), self._config)
            failpoint("settlement.opened")
            self._ask_for_accounts()
            with self._database.transaction() as session:
                batches.prepare(session, self._custody.address, self._custody.mint, self._clock.now())
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

    def _ask_for_accounts(self) -> None:
        """Which of those who wait to be paid have no token account yet."""
        with self._database.read() as session:
            asked = newcomers.unchecked(session)
        if not asked:
            return
        owners = sorted({each.wallet_address for each in asked})
        try:
            missing = self._chain.missing_token_accounts(owners, self._custody.mint)
        except ChainError as error:
            log.warning("settlement_waits", error=str(error))
            return
        with self._database.transaction() as session:
            newcomers.checked(session, asked, missing, self._custody.address, self._clock.now(), self._config)

    def _follow(self, sent: Sequence[Batch]) -> None:
        """What became of the live signings; those that the chain has not seen are sent again or given up."""
        signatures = [batch.live.signature for batch in sent if batch.live is not None]
        for batch, status in zip(sent, self._chain.signature_statuses(signatures), strict=True):
            assert batch.live is not None
            try:
                self._advance(batch, batch.live, status.state)
            except ChainError as error:
                log.warning("settlement_waits", batch_id=batch.batch_id, error=str(error))

    def _advance(self, batch: Batch, live: Live, state: SignatureState) -> None:
        """state: as one RPC has it, which is a hint where to look and no more."""
        if state in (SignatureState.PROCESSED, SignatureState.CONFIRMED):
            return
        if state is SignatureState.FINALIZED and self._conclude(batch, live):
            return
        if self._chain.finalized_block_height() <= live.last_valid_block_height:
            self._chain.send(live.wire)
        elif self._chain.is_expired_everywhere(live.signature, live.last_valid_block_height):
            self._give_up(batch, live, "expired", f"not landed by block {live.last_valid_block_height}")
        elif state is SignatureState.UNKNOWN:
            self._conclude(batch, live)

    def _conclude(self, batch: Batch, live: Live) -> bool:
        """Whether its end is certain, which is what two RPCs say alike: one alone may be wrong, or lie."""
        status = self._chain.finalized_status(live.signature)
        if status is None:
            return False
        if status.failure is not None:
            log.error("settlement_failed", batch_id=batch.batch_id, reason=status.failure.reason)
            self._give_up(batch, live, "failed", status.failure.reason)
        elif batch.kind == "table":
            self._note_growth(batch, live)
        elif self._is_shown(batch, live):
            with self._database.transaction() as session:
                batches.finalized(session, batch.batch_id, live.signature, self._clock.now())
        return True

    def _note_growth(self, batch: Batch, live: Live) -> None:
        assert batch.table_address is not None
        found = self._chain.table_entries(batch.table_address)
        if found is not None and len(found) >= len(batch.entries):
            with self._database.transaction() as session:
                batches.finalized(session, batch.batch_id, live.signature, self._clock.now(), found)

    def _is_shown(self, batch: Batch, live: Live) -> bool:
        """Whether the finalized transaction itself shows the memo and every movement: one answer alone may be a lie."""
        transaction = self._chain.read_transaction(live.signature)
        if transaction is None:
            return False
        owed = batch.moves(self._custody.address, self._custody.mint)
        moved = {account: transaction.account_delta(account) for account in owed}
        shown = transaction.failure is None and batch.memo in transaction.memos and moved == owed
        if not shown:
            log.error("settlement_differs", batch_id=batch.batch_id, signature=live.signature, owed=owed, moved=moved)
        return shown

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
        signed = signing.sign(batch, self._chain, self._custody, self._config)
        wire = signed.transaction.wire
        if self._chain.simulate(wire).failure is not None:
            failure = self._chain.refusal(wire)
            if failure is not None:
                self._blame(batch, failure)
            return
        failpoint("settlement.simulated")
        last_valid = signed.blockhash.last_valid_block_height
        with self._database.transaction() as session:
            stored = batches.sign(session, batch, signed.transaction, last_valid, self._clock.now(), signed.new_table)
        failpoint("settlement.signed")
        if stored:
            self._chain.send(wire)
            failpoint("settlement.sent")

    def _blame(self, batch: Batch, failure: Failure) -> None:
        """A payment that its recipient cannot take leaves the batch; a treasury that is short keeps it waiting."""
        held = self._chain.token_balance(self._custody.address, self._custody.mint)
        index = payment_of(batch.payments, failure.instruction)
        if index is None and len(batch.payments) == 1 and failure.instruction is None:
            index = 0
        passing = failure.instruction is None and failure.reason.startswith(_PASSING)
        if batch.pull is not None and not passing:
            self._refuse_pull(batch, failure)
        elif not batch.payments or passing or held < batch.total_microusd:
            log.error("settlement_refused", batch_id=batch.batch_id, reason=failure.reason, treasury_microusd=held)
        elif index is not None:
            self._hold(batch, index, failure)
        elif len(batch.payments) > 1:
            log.warning("settlement_split", batch_id=batch.batch_id, reason=failure.reason)
            with self._database.transaction() as session:
                batches.split(session, batch, self._clock.now())

    def _refuse_pull(self, batch: Batch, failure: Failure) -> None:
        assert batch.pull is not None
        detail = f"the chain refuses to pull from {batch.pull.source} ({failure.reason}): revoked, emptied or frozen"
        log.warning("pull_refused", batch_id=batch.batch_id, detail=detail)
        with self._database.transaction() as session:
            batches.refuse_pull(session, batch, detail, self._clock.now())

    def _hold(self, batch: Batch, index: int, failure: Failure) -> None:
        wallet = batch.payments[index].owner
        detail = (
            f"the chain refuses to pay {wallet} ({failure.reason}): its account of {self._custody.mint} is at fault"
        )
        log.warning("payout_held", payout_id=batch.payout_ids[index], detail=detail)
        with self._database.transaction() as session:
            batches.hold_payment(session, batch, index, detail, self._clock.now())


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
