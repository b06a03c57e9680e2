"""What owners and operators see of proofs, read in bounded queries."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from scheduler.proofs.judgement import ProofState
from scheduler.tables import Benchmark, Gpu, Node, ProofChallenge, ProofStanding
from scheduler.tables.proofs import CPU, NODE, ChallengeState

DEVICES_MAX = 1000


@dataclass(frozen=True, slots=True)
class DeviceProof:
    """A device with its standing, its newest verdict, and what it and its node were measured at."""

    node_name: str
    model: str | None
    standing: ProofStanding
    last: ProofChallenge | None
    benchmarks: list[Benchmark]


@dataclass(frozen=True, slots=True)
class ProofCosts:
    """Of the last day: how many were judged, by outcome, how many missed, and the verifier's CPU time."""

    judged: dict[str, int]
    missed: int
    verifier_cpu_ms: int


def of_provider(session: Session, provider_id: str) -> list[DeviceProof]:
    """The devices of a provider that are there now."""
    return _devices(session, provider_id=provider_id)


def in_trouble(session: Session) -> list[DeviceProof]:
    """Every device of the market that is suspect, frozen or banned."""
    return _devices(session, states=(ProofState.SUSPECT, ProofState.FROZEN, ProofState.BANNED))


def costs(session: Session, now: datetime) -> ProofCosts:
    """What the verifier did in the last day."""
    rows = session.execute(
        select(
            ProofChallenge.state,
            ProofChallenge.outcome,
            func.count(),
            func.sum(func.coalesce(ProofChallenge.verifier_cpu_ms, 0)),
        )
        .where(ProofChallenge.judged_at > now - timedelta(days=1))
        .group_by(ProofChallenge.state, ProofChallenge.outcome)
    ).all()
    judged = {outcome: count for state, outcome, count, _ in rows if state is ChallengeState.JUDGED and outcome}
    missed = sum(int(count) for state, _, count, _ in rows if state is ChallengeState.MISSED)
    return ProofCosts(judged, missed, sum(int(spent) for _, _, _, spent in rows))


def _devices(
    session: Session, *, provider_id: str | None = None, states: tuple[ProofState, ...] = ()
) -> list[DeviceProof]:
    query = (
        select(ProofStanding, Node.name, Gpu.model)
        .join(Node, Node.id == ProofStanding.node_id)
        .outerjoin(Gpu, (Gpu.node_id == ProofStanding.node_id) & (Gpu.uuid == ProofStanding.device) & Gpu.present)
        .where((ProofStanding.device == CPU) | Gpu.id.is_not(None))
        .order_by(Node.joined_at, Node.id, ProofStanding.device)
        .limit(DEVICES_MAX)
    )
    if provider_id is not None:
        query = query.where(Node.provider_id == provider_id)
    if states:
        query = query.where(ProofStanding.state.in_(states))
    rows = session.execute(query).all()
    node_ids = {standing.node_id for standing, _, _ in rows}
    last = {
        (row.node_id, row.device): row
        for row in session.scalars(
            select(ProofChallenge)
            .where(ProofChallenge.node_id.in_(node_ids), ProofChallenge.state == ChallengeState.JUDGED)
            .ext(distinct_on(ProofChallenge.node_id, ProofChallenge.device))
            .order_by(ProofChallenge.node_id, ProofChallenge.device, ProofChallenge.created_at.desc())
        )
    }
    measured: dict[tuple[str, str], list[Benchmark]] = {}
    for row in session.scalars(select(Benchmark).where(Benchmark.node_id.in_(node_ids)).order_by(Benchmark.kind)):
        measured.setdefault((row.node_id, row.device), []).append(row)
    return [
        DeviceProof(
            name,
            model,
            standing,
            last.get((standing.node_id, standing.device)),
            measured.get((standing.node_id, standing.device), []) + measured.get((standing.node_id, NODE), []),
        )
        for standing, name, model in rows
    ]
