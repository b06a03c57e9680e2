"""Idempotency: an effect and the memory of its key are one transaction, so a retried request finds the first answer.

Keys are bound to their owner and to the route. A second caller with the same key, while the first is still at work in
another transaction, is told to wait (409); one with another body is refused (422).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Header
from sqlalchemy import bindparam, delete, func, insert, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, BIGINT
from sqlalchemy.orm import Session
from starlette.responses import Response

from market.customer_api import IDEMPOTENCY_HEADER, IDEMPOTENT_REPLAY_HEADER
from market.error_codes import Kind
from market.errors import Conflict, InvalidInput
from portal_api.identity.tables import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
PRUNED_AT_ONCE_MAX = 100
KEY_MAX_CHARACTERS = 255


class IdempotencyKeyMissing(InvalidInput):
    kind, code = Kind.MALFORMED, "idempotency_key_missing"


class IdempotencyKeyReused(InvalidInput):
    code = "idempotency_key_reused"


class IdempotencyKeyInFlight(Conflict):
    code = "idempotency_key_in_flight"


@dataclass(frozen=True, slots=True)
class Intent:
    """One keyed request: whose, where, under which key, with which body."""

    owner: str
    route: str
    key: str
    body_sha256: str

    @property
    def name(self) -> tuple[str, str, str]:
        return (self.owner, self.route, self.key)

    @property
    def lock_number(self) -> int:
        """The advisory lock of the key: 64 signed bits."""
        return int.from_bytes(hashlib.sha256("\n".join(self.name).encode()).digest()[:8], signed=True)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with its status. replayed: it was given before."""

    status: int
    body: Mapping[str, Any]
    replayed: bool = False

    def response(self, location: str) -> Response:
        """The answer over HTTP. Sorted, because the database keeps no order: a replay has the very same bytes."""
        headers = {"Location": location} | ({IDEMPOTENT_REPLAY_HEADER: "true"} if self.replayed else {})
        body = json.dumps(self.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return Response(body, self.status, headers, media_type="application/json")


async def required_key(
    key: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_HEADER,
            description="a fresh text for each intent, the same for its retries",
            max_length=KEY_MAX_CHARACTERS,
        ),
    ] = None,
) -> str:
    """The key of a request that spends. Raises IdempotencyKeyMissing."""
    if not key:
        raise IdempotencyKeyMissing(
            f"the header {IDEMPOTENCY_HEADER} is missing",
            remedy="send a fresh random text for each intent, and the same one when you retry it",
        )
    return key


IdempotencyKeyHeader = Annotated[str, Depends(required_key)]


def body_digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def claim(session: Session, intents: Sequence[Intent]) -> list[Answered | Exception | None]:
    """For each intent: the answer it already has, why it is refused, or None: it is yours until this transaction ends.

    An intent that another one of the same list repeats is None for both; the caller does the first of them only.
    """
    held = _try_locks(session, intents)
    mine = [intent for intent in intents if held[intent.lock_number]]
    rows = session.scalars(
        select(IdempotencyKey).where(
            tuple_(IdempotencyKey.owner, IdempotencyKey.route, IdempotencyKey.key).in_([item.name for item in mine])
        )
    )
    known = {(row.owner, row.route, row.key): row for row in rows} if mine else {}
    return [_verdict(intent, held[intent.lock_number], known.get(intent.name)) for intent in intents]


def remember(session: Session, answers: Sequence[tuple[Intent, Answered]], now: datetime) -> None:
    """Write the answers of fresh intents down, and forget some that are older than a day."""
    if answers:
        session.execute(
            insert(IdempotencyKey),
            [
                {
                    "owner": intent.owner,
                    "route": intent.route,
                    "key": intent.key,
                    "body_sha256": intent.body_sha256,
                    "status": answer.status,
                    "answer": dict(answer.body),
                    "created_at": now,
                }
                for intent, answer in answers
            ],
        )
    _prune(session, now)


def once(session: Session, intent: Intent, effect: Callable[[], Answered], now: datetime) -> Answered:
    """The answer of one intent: the one it had, or the effect's, remembered with it. Raises its refusals."""
    verdict = claim(session, [intent])[0]
    if isinstance(verdict, Exception):
        raise verdict
    if verdict is not None:
        return verdict
    answer = effect()
    remember(session, [(intent, answer)], now)
    return answer


def same_body(first: Intent, second: Intent) -> None:
    """Raise IdempotencyKeyReused when two requests under one key differ."""
    if first.body_sha256 != second.body_sha256:
        raise _reused()


def _try_locks(session: Session, intents: Sequence[Intent]) -> dict[int, bool]:
    numbers = sorted({intent.lock_number for intent in intents})
    wanted = func.unnest(bindparam("numbers", numbers, type_=ARRAY(BIGINT))).column_valued("number")
    rows = session.execute(select(wanted, func.pg_try_advisory_xact_lock(wanted).label("held")))
    return {row.number: row.held for row in rows}


def _verdict(intent: Intent, held: bool, row: IdempotencyKey | None) -> Answered | Exception | None:
    if not held:
        return IdempotencyKeyInFlight(
            "a request with this key is being worked on", remedy="wait a moment, then send it again unchanged"
        )
    if row is None:
        return None
    if row.body_sha256 != intent.body_sha256:
        return _reused()
    return Answered(row.status, row.answer, replayed=True)


def _reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        "this key was used for a request with another body", remedy="use a fresh key for a new intent"
    )


def _prune(session: Session, now: datetime) -> None:
    old = (
        select(IdempotencyKey.owner, IdempotencyKey.route, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < now - KEPT_FOR)
        .limit(PRUNED_AT_ONCE_MAX)
        .with_for_update(skip_locked=True)
    )
    names = [tuple(row) for row in session.execute(old)]
    if names:
        columns = tuple_(IdempotencyKey.owner, IdempotencyKey.route, IdempotencyKey.key)
        session.execute(delete(IdempotencyKey).where(columns.in_(names)))
