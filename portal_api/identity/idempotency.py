"""Idempotency: an effect and the memory of its key are one transaction, so a retried request finds the first answer.

Keys are bound to their owner and to the route. A second caller with the same key, while the first is still at work in
another transaction, is told to wait (409); one with another body is refused (422).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.responses import Response

from infra.bulk import insert_rows
from infra.statements import Statement
from market.customer_api import IDEMPOTENCY_HEADER, IDEMPOTENT_REPLAY_HEADER
from market.error_codes import Kind
from market.errors import Conflict, InvalidInput
from portal_api.identity.tables import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
PRUNE_EVERY = timedelta(seconds=5)
PRUNED_AT_ONCE_MAX = 1000
KEY_MAX_CHARACTERS = 255


class IdempotencyKeyMissing(InvalidInput):
    kind, code = Kind.MALFORMED, "idempotency_key_missing"


class IdempotencyKeyReused(InvalidInput):
    code = "idempotency_key_reused"


class IdempotencyKeyInFlight(Conflict):
    code = "idempotency_key_in_flight"


_PRUNE = text(
    """
    DELETE FROM idempotency_keys WHERE (owner, route, key) IN (
        SELECT owner, route, key FROM idempotency_keys WHERE created_at < :before LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)
# An answer that commits between the look and the lock is not seen; the key's uniqueness refuses the second one then.
_CLAIM = Statement(
    """
    SELECT given.owner, given.route, given.key, pg_try_advisory_xact_lock(given.number) AS held,
        known.body_sha256, known.status, known.answer
    FROM unnest(cast(:owners AS text[]), cast(:routes AS text[]), cast(:keys AS text[]), cast(:numbers AS bigint[]))
        AS given(owner, route, key, number)
    LEFT JOIN idempotency_keys AS known
        ON known.owner = given.owner AND known.route = given.route AND known.key = given.key
    """
)


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
        body = orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)
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
    by_name = {intent.name: intent for intent in sorted(intents, key=lambda intent: intent.lock_number)}
    owners, routes, keys = (list(column) for column in zip(*by_name, strict=True))
    numbers = [intent.lock_number for intent in by_name.values()]
    values = {"owners": owners, "routes": routes, "keys": keys, "numbers": numbers}
    known = {(row.owner, row.route, row.key): row for row in _CLAIM.rows(session, values)}
    return [_verdict(intent, known[intent.name]) for intent in intents]


def remember(session: Session, answers: Sequence[tuple[Intent, Answered]], now: datetime) -> None:
    """Write the answers of fresh intents down, and forget some that are older than a day."""
    if answers:
        insert_rows(
            session,
            IdempotencyKey,
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


def _verdict(intent: Intent, row: Any) -> Answered | Exception | None:
    if not row.held:
        return IdempotencyKeyInFlight(
            "a request with this key is being worked on", remedy="wait a moment, then send it again unchanged"
        )
    if row.body_sha256 is None:
        return None
    if row.body_sha256 != intent.body_sha256:
        return _reused()
    return Answered(row.status, row.answer, replayed=True)


class _Pace:
    """When this process last looked for old keys."""

    def __init__(self) -> None:
        self._last: datetime | None = None

    def due(self, now: datetime) -> bool:
        if self._last is not None and abs(now - self._last) < PRUNE_EVERY:
            return False
        self._last = now
        return True


_pruned = _Pace()


def _reused() -> IdempotencyKeyReused:
    return IdempotencyKeyReused(
        "this key was used for a request with another body", remedy="use a fresh key for a new intent"
    )


def _prune(session: Session, now: datetime) -> None:
    if _pruned.due(now):
        session.execute(_PRUNE, {"before": now - KEPT_FOR, "limit": PRUNED_AT_ONCE_MAX})
