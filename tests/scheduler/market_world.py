"""A market to test in: factories that return saved objects, and what was published."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.outbox.tables import OutboxMessage
from market.agent_api import AttemptStatus, JoinRequest
from market.clock import ManualClock
from market.ids import new_id
from market.messages import JobFunded, Message
from market.resources import GpuFacts, Inventory
from market.signing import NodeKey
from market.specs import parse_job_spec
from market.states import Reason
from scheduler import handlers
from scheduler.rounds import placing, quotes
from scheduler.rounds.queueing import Walk
from scheduler.supply import nodes, providers
from scheduler.supply.nodes import Heartbeat
from scheduler.tables import Attempt, Job, Lease, Node, Provider
from scheduler.upkeep import listening, sweep
from scheduler.work import attempts, desired, jobs, stops
from scheduler.work.jobs import JobRecord, NewJob

GIB = 2**30
ORGANIZATION = "org_01KAHJ2M6V8YQ4ZR3T5W7X9B0C"
LIMITS = sweep.Limits(silent_after=timedelta(seconds=30), brake_share=0.5, release_after=timedelta(seconds=30))
Told = TypeVar("Told", bound=Message)


def inventory(gpus: Sequence[str] = (), *, simulated: bool = False, cpu: int = 16_000, **more: Any) -> Inventory:
    """A node's inventory with these GPU models, 80 GB each."""
    start = "SIM-" if simulated else "GPU-"
    facts = [
        GpuFacts(uuid=f"{start}{index:04d}-{model.replace(' ', '-')}", index=index, model=model, memory_bytes=80 * GIB)
        for index, model in enumerate(gpus)
    ]
    fields = {"hostname": "host", "memory_bytes": 64 * GIB, "disk_bytes": 500 * GIB, "sandbox": "bubblewrap"}
    return Inventory(
        **{**fields, "cpu_milli": cpu, "gpus": facts, "simulated": simulated, "agent_version": "1", **more}
    )


def join_request(have: Inventory, *, key: NodeKey | None = None, **prices: int | None) -> JoinRequest:
    public = (key or NodeKey.generate()).public_hex
    return JoinRequest(public_key=public, possession="0" * 128, name="node", inventory=have, **prices)


class World:
    """One session on the market, and a clock."""

    def __init__(self, session: Session, clock: ManualClock) -> None:
        self.session, self.clock = session, clock

    def provider(self) -> Provider:
        return providers.create(self.session, "provider", self.clock.now())

    def node(
        self,
        gpus: Sequence[str] = (),
        *,
        provider: Provider | None = None,
        gpu_price: int | None = None,
        cpu_price: int | None = None,
        **have: Any,
    ) -> Node:
        """A node that is online, its pool ready."""
        owner = provider or self.provider()
        request = join_request(
            inventory(gpus, **have), price_microusd_per_gpu_hour=gpu_price, price_microusd_per_cpu_hour=cpu_price
        )
        node = nodes.join(self.session, owner.id, request, self.clock.now())
        self.beat(node)
        return node

    def beat(self, *which: Node) -> None:
        beats = [Heartbeat(node.id, "boot", "ready") for node in which]
        nodes.heartbeat(self.session, beats, self.clock.now())
        for node in which:
            self.session.refresh(node)

    def job(self, *, funded_seconds: int = 900, **spec: Any) -> str:
        """A submitted job; without a price limit it takes what stands in the market, or 1 USDC."""
        parsed = parse_job_spec({"run": "true", **spec})
        try:
            limit = quotes.plan(self.session, parsed, ORGANIZATION).price_limit_microusd_per_unit_hour
        except quotes.NoOffer:
            limit = 1_000_000
        job_id = new_id("job")
        job = NewJob(job_id, ORGANIZATION, parsed, None, limit, funded_seconds)
        jobs.submit(self.session, [job], self.clock.now())
        return job_id

    def place(self, *, limit: int = 500, seed: str = "seed") -> int:
        return placing.place(self.session, self.clock, Walk(limit), seed=seed).placed

    def running(self, **spec: Any) -> tuple[str, str]:
        """A job whose only attempt runs: (job id, attempt id)."""
        job_id = self.job(**spec)
        assert self.place() == 1
        attempt_id = self.newest(job_id).id
        self.report(attempt_id, "running")
        return job_id, attempt_id

    def report(
        self,
        attempt_id: str,
        state: str,
        reason: Reason | None = None,
        exit_code: int | None = None,
        node_id: str | None = None,
    ) -> list[str]:
        status = AttemptStatus.model_validate(
            {"attempt_id": attempt_id, "state": state, "reason": reason, "exit_code": exit_code}
        )
        sender = node_id or self.session.get_one(Attempt, attempt_id).node_id
        return attempts.report(self.session, sender, [status], self.clock.now())

    def fund(self, job_id: str, seconds: int) -> None:
        """Money is held for the job's next lease."""
        handlers.job_funded(self.session, JobFunded(job_id=job_id, seconds=seconds), self.clock.now())
        self.session.flush()

    def record(self, job_id: str) -> JobRecord:
        return jobs.one(self.session, ORGANIZATION, job_id)

    def record_of_attempt(self, attempt_id: str) -> Attempt:
        return self.session.get_one(Attempt, attempt_id, populate_existing=True)

    def row(self, job_id: str) -> Job:
        return self.session.get_one(Job, job_id, populate_existing=True)

    def newest(self, job_id: str) -> Attempt:
        newest = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number.desc()).limit(1)
        return self.session.scalars(newest.execution_options(populate_existing=True)).one()

    def version(self, node_id: str) -> int:
        """Of the node's desired state."""
        return desired.desired_state(self.session, [node_id], self.clock.now())[node_id].version

    def lease(self, attempt_id: str) -> Lease:
        query = select(Lease).where(Lease.attempt_id == attempt_id).execution_options(populate_existing=True)
        return self.session.scalars(query).one()

    def sweep(self) -> None:
        """What the task does, in this one session."""
        now = self.clock.now()
        listening.note(self.session, now)
        sweep.mark_lost(self.session, now, LIMITS)
        sweep.end_lost(self.session, now)
        sweep.end_expired(self.session, now, LIMITS)
        stops.ask_due(self.session, now)

    def pass_time(self, seconds: float, *alive: Node, step: float = 5) -> None:
        """Let time pass while these nodes go on beating; the sweep never pauses."""
        self.sweep()
        for _ in range(round(seconds / step)):
            self.clock.advance(timedelta(seconds=step))
            if alive:
                self.beat(*alive)
            self.sweep()

    def told(self, kind: type[Told]) -> list[Told]:
        """Everything of that kind that was published, oldest first."""
        query = select(OutboxMessage.body).where(OutboxMessage.kind == kind.__name__).order_by(OutboxMessage.id)
        return [kind.model_validate(body) for body in self.session.scalars(query)]
