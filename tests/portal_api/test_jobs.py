"""Submitting, reading and stopping jobs through the portal."""

import asyncio

import pytest
from portal_world import SPEC, PortalWorld
from sqlalchemy import func, select

from billing.tables.funding import HoldRow
from market.customer_api import IDEMPOTENT_REPLAY_HEADER
from scheduler.tables import Job

pytestmark = pytest.mark.anyio


async def test_fifty_callers_with_one_key_make_one_job_and_one_hold(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    answers = await asyncio.gather(*(customer.submit(key="one") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum(IDEMPOTENT_REPLAY_HEADER not in answer.headers for answer in answers) == 1
    with world.base.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
        assert session.scalar(select(func.count()).select_from(HoldRow)) == 1


async def test_a_key_is_for_one_body_and_must_be_there(world: PortalWorld) -> None:
    await world.node()
    customer, other = await world.customer(), await world.customer()
    first = await customer.submit(key="one")
    changed = await customer.submit(key="one", run="echo other")
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    missing = await customer.post("/v1/jobs", {"spec": SPEC})
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_missing")
    theirs = await other.submit(key="one")
    assert theirs.status_code == 201 and theirs.json()["job_id"] != first.json()["job_id"]
