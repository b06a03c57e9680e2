"""The local chain itself: takes transactions, keeps time, remembers both. One thread at a time, under `lock`."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from billing.chains.local import shapes
from billing.chains.local.blockhashes import VALID_BLOCKS, Blockhashes
from billing.chains.local.errors import Code, RpcError
from billing.chains.local.runtime import AccountsByKey, Runtime
from billing.chains.local.slots import Commitment, Heights, Timing, slot_of
from billing.chains.local.store import Landed, Store

REMEMBERED_BLOCKS: Final = VALID_BLOCKS
"""For how many blocks the chain can tell what an account was before."""
_HEIGHTS_RESERVED: Final = 100
"""How far ahead heights are reserved on disk; a chain killed with -9 goes on that many blocks later at most."""


@dataclass(frozen=True)
class SimulationReport:
    """`error` is None, or JSON values in the RPC's form; `replacement` is the blockhash used instead, if one was."""

    error: Any
    metadata: TransactionMetadata | None
    replacement: tuple[Hash, int] | None


class LocalChain:
    def __init__(
        self,
        store: Store,
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
    ) -> None:
        """Continue the chain that the store holds."""
        self.lock = threading.Lock()
        self.closed = False
        self.genesis = store.genesis()
        self.timing = timing
        self._store = store
        self._unix = unix
        self._runtime = Runtime(store.accounts())
        self._blockhashes = Blockhashes(self.genesis, store.forks())
        self._heights = Heights(store.next_height(), timing, clock)
        self._reserved = store.next_height()
        # Never less than what was shown as finalized; and what came before this start cannot be taken back.
        self._settled_at = self._reserved - timing.finalized_after
        self._started_after = self._reserved - 1
        # What the newest transactions replaced, oldest first: to be taken back, and to be shown by who lags behind.
        self._replaced: deque[tuple[int, VersionedTransaction, AccountsByKey]] = deque()

    def close(self) -> None:
        """Stop where the chain stands, so that it goes on at the next block."""
        self._store.reserve_heights(self._heights.now() + 1)
        self._store.close()
        self.closed = True

    # Time

    def height(self, commitment: Commitment) -> int:
        height = self._now() - self.timing.depth(commitment)
        return height if commitment is Commitment.PROCESSED else max(height, self._settled_at)

    def blockhash_at(self, height: int) -> Hash:
        return self._blockhashes.at(height)

    def is_blockhash_valid(self, blockhash: Hash) -> bool:
        return self._blockhashes.is_recent(blockhash, self._now())

    def _now(self) -> int:
        now = self._heights.now()
        if now >= self._reserved:
            # Before the height is shown to anybody: after a crash the chain must not count it a second time.
            self._store.reserve_heights(now + _HEIGHTS_RESERVED)
            self._reserved = now + _HEIGHTS_RESERVED
        return now

    def take_back(self, blocks: int) -> list[VersionedTransaction]:
        """Replace up to that many of the newest blocks by as many empty ones to come, none of them finalized.

        Returns the transactions that were in them, oldest first.
        """
        self._settled_at = max(self._settled_at, self._now() - self.timing.finalized_after)
        above = max(self._now() - blocks, self._settled_at, self._started_after)
        taken = []
        before: AccountsByKey = {}
        while self._replaced and self._replaced[-1][0] > above:
            _, transaction, replaced = self._replaced.pop()
            taken.append(transaction)
            before |= replaced
        self._store.take_back(above, before.items())
        self._runtime.restore(before.items())
        self._blockhashes.fork(above)
        self._heights.rewind(self._now() - above)
        return taken[::-1]

    # Transactions

    def submit(self, transaction: VersionedTransaction, *, preflight: bool) -> Signature:
        """Execute once and keep; durable when this returns.

        As on a cluster, what cannot land (expired, fee not payable) is refused with preflight and dropped without.
        """
        verify_signatures(transaction)
        signature = transaction.signatures[0]
        if self._store.find(signature) is not None:
            return signature
        if preflight:
            report = self.simulate(transaction)
            if report.error is not None:
                message = f"Transaction simulation failed: {json.dumps(report.error)}"
                data = shapes.simulation(report.error, report.metadata)
                raise RpcError(Code.PREFLIGHT_FAILURE, message, data)
        now = self._now()
        if self._blockhashes.is_recent(transaction.message.recent_blockhash, now):
            self._execute(transaction, now)
        return signature

    def simulate(self, transaction: VersionedTransaction, *, replace_blockhash: bool = False) -> SimulationReport:
        now = self._now()
        if not replace_blockhash:
            if not self._blockhashes.is_recent(transaction.message.recent_blockhash, now):
                return SimulationReport("BlockhashNotFound", None, None)
            if self._store.find(transaction.signatures[0]) is not None:
                return SimulationReport("AlreadyProcessed", None, None)
        error, metadata = self._runtime.simulate(transaction, slot=slot_of(now), unix_time=int(self._unix()))
        replacement = (self.blockhash_at(now), now + VALID_BLOCKS) if replace_blockhash else None
        return SimulationReport(error, metadata, replacement)

    def _execute(self, transaction: VersionedTransaction, now: int) -> None:
        unix_time = int(self._unix())
        outcome = self._runtime.run(transaction, slot=slot_of(now), unix_time=unix_time)
        if not outcome.landed:
            return
        landed = Landed(
            signature=transaction.signatures[0],
            height=now,
            block_time=unix_time,
            wire=bytes(transaction),
            error=None if outcome.error is None else json.dumps(outcome.error),
            memo=shapes.memo_line(transaction.message),
            meta=json.dumps(shapes.meta(outcome)),
        )
        changed = outcome.changed()
        try:
            self._store.add(landed, outcome.keys, changed)
        except BaseException:
            # Memory and disk must agree: what could not be written has not happened.
            self._runtime.restore(outcome.replaced().items())
            raise
        while self._replaced and self._replaced[0][0] <= now - REMEMBERED_BLOCKS:
            self._replaced.popleft()
        self._replaced.append((now, transaction, outcome.replaced()))

    # Answers

    def find(self, signature: Signature, height_max: int) -> Landed | None:
        """What landed in a block up to that height."""
        landed = self._store.find(signature)
        return landed if landed is not None and landed.height <= height_max else None

    def mentioning(
        self,
        address: Pubkey,
        height_max: int,
        *,
        until: Signature | None,
        before: Signature | None,
        limit: int,
    ) -> list[Landed]:
        """Transactions that name the address, newest first, between the two signatures (both excluded)."""
        oldest = self._store.find(until) if until is not None else None
        newest = self._store.find(before) if before is not None else None
        if before is not None and newest is None:
            raise RpcError(Code.FILTER_TRANSACTION_NOT_FOUND, f"Transaction {before} not found")
        return self._store.mentioning(
            address,
            above=oldest.position if oldest else 0,
            below=newest.position if newest else None,
            height_max=height_max,
            limit=limit,
        )

    def account(self, key: Pubkey, height: int) -> Account | None:
        """As it was after the block of that height, one of the last REMEMBERED_BLOCKS."""
        for changed_at, _, replaced in self._replaced:
            if changed_at > height and key in replaced:
                return replaced[key]
        return self._runtime.account(key)

    def decimals(self, mint: Pubkey) -> int:
        return self._runtime.decimals(mint)

    def rent_exempt_minimum(self, data_bytes: int) -> int:
        return self._runtime.rent_exempt_minimum(data_bytes)


def verify_signatures(transaction: VersionedTransaction) -> None:
    if not all(transaction.verify_with_results()):
        raise RpcError(Code.SIGNATURE_VERIFICATION_FAILURE, "Transaction signature verification failure")
