"""The health of nodes: what their agents say stands against them, what that takes out of the market, and telemetry."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.agent_api import HealthReport
from market.errors import NotFound
from market.health import ADVICE, AWAITS_PROOF, PROOF_DUE, Condition, HealthCode
from market.health import GpuMinute as ToldMinute
from scheduler.tables import Gpu, GpuMinute, Node, NodeCondition
from scheduler.waking import PLACE
from scheduler.work import leases

log = structlog.get_logger(__name__)
MINUTES_KEPT = timedelta(hours=24)
CONDITIONS_KEPT = timedelta(days=30)
FLUTTER = timedelta(minutes=10)
PAST_MAX = 2000
"""Ended conditions kept of one node."""
STANDING_MAX = 1000
TRIM_MAX = 10_000
_NODE = ""


@dataclass(frozen=True, slots=True)
class StandingCondition:
    """gpu_uuid: None for the whole node."""

    node_id: str
    node_name: str
    provider_id: str
    gpu_uuid: str | None
    code: str
    quarantines: bool
    reason: str
    remedy: str
    detail: str
    began_at: datetime


def take(session: Session, node_id: str, report: HealthReport, now: datetime) -> None:
    """Make what stands against the node what its agent says; the next round sees it. Raises NotFound."""
    node = leases.lock_nodes(session, [node_id]).get(node_id)
    if node is None:
        raise NotFound(f"there is no node {node_id}")
    said = {(condition.gpu_uuid or _NODE, condition.code): condition for condition in report.conditions}
    known = {(row.gpu_uuid, row.code): row for row in _open(session, [node_id])}
    for key in known.keys() - said.keys():
        known[key].ended_at = now
        log.info("condition_ended", node_id=node_id, code=key[1], gpu=key[0])
    began = {key: condition for key, condition in said.items() if key not in known}
    if began:
        _begin(session, node_id, began, now)
    session.flush()
    if quarantine(session, node, now):
        node.revision += 1
        session.flush()
        wake(session, PLACE)
    _keep_minutes(session, node_id, report.minutes, now)


def quarantine(session: Session, node: Node, now: datetime) -> bool:
    """Bring the marks of a locked node and its GPUs in line with what stands; whether less, or more, may be leased.

    A node is back at once: no computation proves a disk or a clock. A GPU is back once it has proven itself.
    """
    against = {row.gpu_uuid for row in _open(session, [node.id]) if ADVICE[row.code].quarantines}
    changed = node.quarantined != (_NODE in against)
    node.quarantined = _NODE in against
    for gpu in session.scalars(select(Gpu).where(Gpu.node_id == node.id)):
        if gpu.uuid in against:
            changed |= not gpu.quarantined
            gpu.quarantined, gpu.mended_at = True, None
        elif gpu.quarantined and gpu.mended_at is None:
            # Its agent's word put it in; only a proof takes it out (scheduler/proofs/mending.py).
            gpu.mended_at = now
    return changed


def of_nodes(session: Session, node_ids: Sequence[str]) -> dict[str, list[StandingCondition]]:
    """What stands against each of these nodes, what quarantines first."""
    found: dict[str, list[StandingCondition]] = defaultdict(list)
    for condition in _standing(session, node_ids, STANDING_MAX):
        found[condition.node_id].append(condition)
    return found


def standing(session: Session, limit: int = STANDING_MAX) -> list[StandingCondition]:
    """What stands in the whole market, what quarantines first."""
    return _standing(session, None, limit)


def gpus_of(session: Session, node_ids: Sequence[str]) -> dict[str, list[Gpu]]:
    """The devices of each of these nodes, in their order, those that are gone too."""
    found: dict[str, list[Gpu]] = defaultdict(list)
    for gpu in session.scalars(select(Gpu).where(Gpu.node_id.in_(node_ids)).order_by(Gpu.index, Gpu.id)):
        found[gpu.node_id].append(gpu)
    return found


def minutes_of(
    session: Session, provider_id: str, node_id: str, since: datetime, limit: int
) -> list[tuple[str, GpuMinute]]:
    """With its GPU's UUID each, the newest first. Raises NotFound for a node of somebody else."""
    if session.scalar(select(Node.id).where(Node.id == node_id, Node.provider_id == provider_id)) is None:
        raise NotFound(f"there is no node {node_id} of yours")
    rows = session.execute(
        select(Gpu.uuid, GpuMinute)
        .join(Gpu, Gpu.id == GpuMinute.gpu_id)
        .where(Gpu.node_id == node_id, GpuMinute.minute_at >= since)
        .order_by(GpuMinute.minute_at.desc(), Gpu.index)
        .limit(limit)
    )
    return [(uuid, minute) for uuid, minute in rows]


def trim(session: Session, now: datetime, limit: int = TRIM_MAX) -> int:
    """Forget what is older than it is kept, a bounded number at a time; returns how many rows."""
    old = select(GpuMinute.gpu_id, GpuMinute.minute_at).where(GpuMinute.minute_at < now - MINUTES_KEPT).limit(limit)
    ended = select(NodeCondition.id).where(NodeCondition.ended_at < now - CONDITIONS_KEPT).limit(limit)
    key = tuple_(GpuMinute.gpu_id, GpuMinute.minute_at)
    minutes = session.execute(delete(GpuMinute).where(key.in_(old)).returning(GpuMinute.gpu_id)).all()
    conditions = session.execute(
        delete(NodeCondition).where(NodeCondition.id.in_(ended)).returning(NodeCondition.id)
    ).all()
    return len(minutes) + len(conditions)


def _begin(session: Session, node_id: str, began: Mapping[tuple[str, HealthCode], Condition], now: datetime) -> None:
    """What ended a moment ago and comes again goes on, so that what flutters is one row; a node's past is bounded."""
    ended = (
        select(NodeCondition)
        .where(NodeCondition.node_id == node_id, NodeCondition.ended_at.is_not(None))
        .order_by(NodeCondition.ended_at.desc(), NodeCondition.id.desc())
    )
    recent = session.scalars(ended.where(NodeCondition.ended_at > now - FLUTTER)).all()
    latest = {(row.gpu_uuid, row.code): row for row in reversed(recent)}
    for key, condition in began.items():
        uuid, code = key
        log.warning("condition_began", node_id=node_id, code=code, gpu=uuid, detail=condition.detail)
        if key in latest:
            latest[key].ended_at, latest[key].detail = None, condition.detail
            continue
        session.add(NodeCondition(node_id=node_id, gpu_uuid=uuid, code=code, detail=condition.detail, began_at=now))
    session.flush()
    oldest = select(ended.offset(PAST_MAX).subquery().c.id)
    session.execute(delete(NodeCondition).where(NodeCondition.id.in_(oldest)))


def _open(session: Session, node_ids: Sequence[str]) -> list[NodeCondition]:
    query = select(NodeCondition).where(NodeCondition.node_id.in_(node_ids), NodeCondition.ended_at.is_(None))
    return list(session.scalars(query))


def _standing(session: Session, node_ids: Sequence[str] | None, limit: int) -> list[StandingCondition]:
    query = (
        select(NodeCondition, Node.name, Node.provider_id)
        .join(Node, Node.id == NodeCondition.node_id)
        .where(NodeCondition.ended_at.is_(None))
        .order_by(NodeCondition.began_at, NodeCondition.id)
        .limit(limit)
    )
    if node_ids is not None:
        query = query.where(NodeCondition.node_id.in_(node_ids))
    found = [_view(row, name, provider_id) for row, name, provider_id in session.execute(query)]
    found += _to_be_proven(session, node_ids, limit - len(found))
    return sorted(found, key=lambda condition: not condition.quarantines)


def _to_be_proven(session: Session, node_ids: Sequence[str] | None, limit: int) -> list[StandingCondition]:
    query = (
        select(Gpu, Node.name, Node.provider_id)
        .join(Node, Node.id == Gpu.node_id)
        .where(Gpu.quarantined, Gpu.present, Gpu.mended_at.is_not(None))
        .order_by(Gpu.mended_at, Gpu.id)
        .limit(limit)
    )
    if node_ids is not None:
        query = query.where(Gpu.node_id.in_(node_ids))
    return [_unproven(gpu, name, provider_id) for gpu, name, provider_id in session.execute(query)]


def _unproven(gpu: Gpu, node_name: str, provider_id: str) -> StandingCondition:
    assert gpu.mended_at is not None
    return StandingCondition(
        node_id=gpu.node_id,
        node_name=node_name,
        provider_id=provider_id,
        gpu_uuid=gpu.uuid,
        code=AWAITS_PROOF,
        quarantines=PROOF_DUE.quarantines,
        reason=PROOF_DUE.reason,
        remedy=PROOF_DUE.remedy,
        detail="",
        began_at=gpu.mended_at,
    )


def _view(row: NodeCondition, name: str, provider_id: str) -> StandingCondition:
    advice = ADVICE[row.code]
    return StandingCondition(
        node_id=row.node_id,
        node_name=name,
        provider_id=provider_id,
        gpu_uuid=row.gpu_uuid or None,
        code=row.code.value,
        quarantines=advice.quarantines,
        reason=advice.reason,
        remedy=advice.remedy,
        detail=row.detail,
        began_at=row.began_at,
    )


def _keep_minutes(session: Session, node_id: str, told: Iterable[ToldMinute], now: datetime) -> None:
    """Counted back from now: the node's clock decides nothing. A minute told again is the same one."""
    known = {row.uuid: row.id for row in session.execute(select(Gpu.uuid, Gpu.id).where(Gpu.node_id == node_id))}
    rows = [
        {
            "gpu_id": known[minute.gpu_uuid],
            "minute_at": (now - timedelta(seconds=minute.ago_seconds, minutes=1)).replace(second=0, microsecond=0),
            **minute.model_dump(exclude={"gpu_uuid", "ago_seconds"}),
        }
        for minute in told
        if minute.gpu_uuid in known
    ]
    if rows:
        session.execute(insert(GpuMinute).values(rows).on_conflict_do_nothing())
