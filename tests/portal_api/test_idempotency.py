"""The idempotency store: the first answer is found again, other bodies are refused, and nobody waits for a lock."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from infra.database import Database
from market.clock import ManualClock
from portal_api.identity import idempotency
from portal_api.identity.idempotency import Answered, IdempotencyKeyInFlight, IdempotencyKeyReused, Intent
from portal_api.identity.tables import IdempotencyKey

INTENT = Intent("org_1", "submit_job", "key-1", "a" * 64)


def test_the_effect_and_its_key_are_one_transaction(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        assert idempotency.claim(session, [INTENT]) == [None]
        idempotency.remember(session, [(INTENT, Answered(201, {"job": 1}))], clock.now())
    with database.transaction() as session:
        assert idempotency.claim(session, [INTENT]) == [Answered(201, {"job": 1}, replayed=True)]
        other_body = Intent(INTENT.owner, INTENT.route, INTENT.key, "b" * 64)
        assert isinstance(idempotency.claim(session, [other_body])[0], IdempotencyKeyReused)


def test_keys_of_other_owners_and_routes_are_other_keys(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        idempotency.remember(session, [(INTENT, Answered(201, {}))], clock.now())
    with database.read() as session:
        strangers = [
            Intent("org_2", INTENT.route, INTENT.key, INTENT.body_sha256),
            Intent(INTENT.owner, "request_deposit", INTENT.key, INTENT.body_sha256),
        ]
        assert idempotency.claim(session, strangers) == [None, None]


def test_a_key_that_is_being_worked_on_is_refused_at_once(database: Database) -> None:
    with database.transaction() as first, database.transaction() as second:
        assert idempotency.claim(first, [INTENT]) == [None]
        free = Intent(INTENT.owner, INTENT.route, "key-2", INTENT.body_sha256)
        verdicts = idempotency.claim(second, [INTENT, free])
        assert isinstance(verdicts[0], IdempotencyKeyInFlight)
        assert verdicts[1] is None


def test_a_key_whose_effect_was_rolled_back_is_free_again(database: Database, clock: ManualClock) -> None:
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        idempotency.claim(session, [INTENT])
        idempotency.remember(session, [(INTENT, Answered(201, {}))], clock.now())
        session.flush()
        raise ZeroDivisionError
    with database.read() as session:
        assert idempotency.claim(session, [INTENT]) == [None]


def test_keys_are_kept_for_a_day(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        idempotency.remember(session, [(INTENT, Answered(201, {}))], clock.now())
    later = clock.now() + idempotency.KEPT_FOR + timedelta(seconds=1)
    with database.transaction() as session:
        idempotency.remember(session, [], later)
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0
