"""Everything that happened to a job can be told from the rows, in order, with the request that began it."""

from datetime import timedelta
from typing import Any, Literal

import pytest
import structlog
from portal_world import PortalWorld, readings_of
from solders.keypair import Keypair
from sqlalchemy import select, text

from billing.charging import renewals
from billing.settling import epochs, wallets
from billing.tables.metering import MeteredLeaseRow
from gridbay.cli.job_trace import print_trace
from gridbay.client.operator import JobTrace
from infra.outbox.tables import OutboxMessage
from market.agent_api import AttemptStatus
from monitoring import job_trace as traces
from monitoring.job_events import STATEMENTS

pytestmark = pytest.mark.anyio

# The way of one job, as docs/one-job.md tells it: each comes after the one before.
STORY = (
    "job submitted",
    "money held",
    "attempt placed",
    "lease granted",
    "window begins",
    "attempt started",
    "log stored",
    "attempt ended",
    "job ended",
    "usage line written",
    "epoch closed",
    "payout opened",
)


async def finished_job(world: PortalWorld) -> tuple[str, str]:
    """A job that ran, was billed and settled: (its id, the request that submitted it)."""
    provider_id, _ = await world.provider()
    node, customer = await world.node(provider_id), await world.customer()
    with world.base.database.transaction() as session:
        wallets.set_wallet(session, provider_id, str(Keypair().pubkey()), world.clock.now())
    submitted = await customer.submit(max_duration="1h", resources={"cpu": 4, "memory": "1GB", "disk": "1GB"})
    job_id, trace = submitted.json()["job_id"], submitted.headers["X-Request-Id"]
    world.place()
    world.deliver()
    (attempt,) = (await node.poll())["attempts"]
    attempt_id, lease_id = attempt["attempt_id"], attempt["lease_id"]
    order = (await node.get(f"/agent/v1/attempts/{attempt_id}/order")).json()
    assert (order["job_id"], order["trace"]) == (job_id, trace)
    await node.report(_status(attempt_id, "running"))
    world.clock.advance(timedelta(seconds=5))
    await node.log(attempt_id, 0, b"hello\n")
    world.clock.advance(timedelta(seconds=895))
    with world.base.database.transaction() as session:
        renewals.fund_windows(session, world.clock.now(), world.base.settings)
    world.deliver()
    await node.report(_status(attempt_id, "exited"), readings=readings_of(lease_id, 900_000))
    world.consume()
    world.deliver()
    with world.base.database.transaction() as session:
        assert epochs.close(session, world.clock.now(), world.base.settings) == 1
    return job_id, trace


async def told(world: PortalWorld, job_id: str) -> JobTrace:
    operator = await world.operator()
    answer = await operator.get(f"/ops/v1/jobs/{job_id}/trace")
    assert answer.status_code == 200, answer.text
    return JobTrace.model_validate_json(answer.content)


async def test_the_whole_way_of_a_job_is_told_in_order(world: PortalWorld, capsys: pytest.CaptureFixture[str]) -> None:
    job_id, trace = await finished_job(world)
    found = await told(world, job_id)
    assert (found.trace, found.truncated) == (trace, [])
    whats = [event.what for event in found.events]
    places = [whats.index(what) for what in STORY]
    assert places == sorted(places), whats
    # Messages and transfers are stamped by the database's clock, the rest by the one the test moves.
    times = [event.at for event in found.events if event.at]
    assert times == sorted(times)
    assert all(event.by for event in found.events)
    told_kinds = {event.what for event in found.events}
    assert {"message AttemptPlaced", "message delivered", "transfer posted", "readings received"} <= told_kinds
    assert {"answer kept for its key", "lease settled", "hold settled"} <= told_kinds
    (readings,) = [event for event in found.events if event.what == "readings received"]
    assert (readings.detail["first"], readings.detail["durable_run_ms"]) == (1, 900_000)
    captured = [event.detail for event in found.events if event.what == "usage line written"]
    posted = [e.detail["entries"] for e in found.events if e.detail.get("key", "").startswith("capture:")]
    assert sum(line["amount_microusd"] for line in captured) == -sum(min(legs.values()) for legs in posted) > 0
    print_trace(found)
    printed = capsys.readouterr()
    assert printed.out.count("\n") >= len(found.events) and trace in printed.err


async def test_every_message_about_a_job_names_the_request_behind_it(world: PortalWorld) -> None:
    job_id, trace = await finished_job(world)
    with world.base.database.read() as session:
        bodies = session.scalars(
            select(OutboxMessage.body).where(text("body ->> 'job_id' = :id")), {"id": job_id}
        ).all()
        assert session.scalar(select(MeteredLeaseRow.trace)) == trace
    assert len(bodies) >= 4
    assert {body["trace"] for body in bodies} == {trace}


async def test_what_a_handler_logs_names_job_message_and_request(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.node()
    customer = await world.customer()
    submitted = await customer.submit()
    world.place()
    seen: list[dict[str, Any]] = []

    def handle(*_: Any) -> list[Any]:
        seen.append(structlog.contextvars.get_contextvars())
        return []

    monkeypatch.setattr("billing.metering.leases.bind_many", handle)
    world.deliver()
    (bound,) = seen
    assert bound["job_id"] == submitted.json()["job_id"]
    assert bound["trace"] == submitted.headers["X-Request-Id"]
    assert bound["subscriber"] == "billing.bind_window" and bound["message_id"]
    assert "trace" not in structlog.contextvars.get_contextvars()


async def test_a_job_that_waits_says_why_and_another_id_is_not_found(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    submitted = await customer.submit()
    job_id = submitted.json()["job_id"]
    found = await told(world, job_id)
    assert found.events[0].what == "job submitted"
    assert found.events[-1].at is None
    operator = await world.operator()
    assert (await operator.get("/ops/v1/jobs/job_nothere/trace")).status_code == 404
    assert (await customer.get(f"/ops/v1/jobs/{job_id}/trace")).status_code == 403


async def test_a_trace_is_bounded_and_says_so(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, _ = await finished_job(world)
    monkeypatch.setattr(traces, "EVENTS_MAX", 1)
    found = await told(world, job_id)
    assert {"messages", "transfers", "holds"} <= set(found.truncated) <= set(STATEMENTS)


def _status(attempt_id: str, state: Literal["running", "exited"]) -> AttemptStatus:
    return AttemptStatus(attempt_id=attempt_id, state=state, exit_code=0 if state == "exited" else None)
