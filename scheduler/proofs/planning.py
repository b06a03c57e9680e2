"""Planning: which devices are challenged now, and at which barrier. The rows of standings say who is due.

At join, at random while idle, after suspicion or a quarantine, on appeal; an operator's GPUs together, and every owner
of one UUID.
"""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from infra.statements import among
from market.ids import new_id
from scheduler.proofs import doubts, mending, rates, sizing, standings
from scheduler.proofs.barriers import Contender, groups
from scheduler.proofs.cards import card_of
from scheduler.proofs.judgement import BARRED, ProofState
from scheduler.tables import Gpu, Lease, LeaseGpu, Node, NodeState, ProofChallenge, ProofStanding, Provider
from scheduler.tables.proofs import CPU, OPEN, Cause, ChallengeState

log = structlog.get_logger(__name__)
SETTLE = timedelta(seconds=20)
"""A node that has just joined is busy with its start, and its first customer comes before its first proof."""
LEAD = timedelta(seconds=30)
"""From planning to a barrier: every agent has asked for its challenges once by then."""
STAGGER = timedelta(seconds=60)
ANSWER_WITHIN = timedelta(minutes=3)
LIVE_MAX = 64
"""Challenges under way at once, so that what is to be verified stays bounded."""
MEMORY_EVERY = 4
"""Every so many audits the memory is filled too, and at the first."""
BATCH_MAX = 200
BEGUN_MAX = 500
"""Devices that begin at once: their nodes are locked meanwhile, and placing waits for them."""

# A device that has no standing yet, of a node that is heard.
_BEGIN = text(
    """
    INSERT INTO proof_standings
        (node_id, device, state, failures, misses, passes, slow, score, owners_cleared, audits, suspicion, cause,
        next_at)
    SELECT node.id, coalesce(gpu.uuid, 'cpu'), 'unproven', 0, 0, 0, '', 0, 1, 0, '', 'join',
        greatest(node.joined_at, :now) + :settle
    FROM nodes AS node
    LEFT JOIN gpus AS gpu ON gpu.node_id = node.id AND gpu.present
    WHERE node.state = 'online' AND NOT EXISTS (
        SELECT FROM proof_standings AS known
        WHERE known.node_id = node.id AND known.device = coalesce(gpu.uuid, 'cpu')
    )
    ORDER BY node.joined_at, node.id
    LIMIT :most
    ON CONFLICT DO NOTHING
    RETURNING node_id, device
    """
)


@dataclass(frozen=True, slots=True)
class _Device:
    """A device that could be challenged now. gpu: None for the CPUs of a node."""

    node_id: str
    provider_id: str
    device: str
    simulated: bool
    gpu: Gpu | None
    standing: ProofStanding

    @property
    def real_gpu(self) -> bool:
        return self.gpu is not None and not self.simulated

    @property
    def timed(self) -> bool:
        """Its time shows whose answer it is: not of slices, whose card runs what else is on it."""
        return self.real_gpu and self.gpu is not None and self.gpu.mig_profile is None

    @property
    def watts(self) -> int | None:
        limit = self.gpu.power_limit_milliwatts if self.gpu is not None else None
        return limit // 1000 if limit is not None else None


def plan(session: Session, now: datetime) -> int:
    """Give up what is late, freeze what is shared, challenge who is due; returns how many challenges were made."""
    # Planned by one at a time: two workers would challenge two halves of a group.
    if not session.scalar(select(func.pg_try_advisory_xact_lock(func.hashtext("scheduler.plan_proofs")))):
        return 0
    miss_overdue(session, now)
    _begin_standings(session, now)
    freeze_shared(session, now)
    mending.challenge(session, now)
    room = LIVE_MAX - (session.scalar(select(func.count()).where(ProofChallenge.state.in_(OPEN))) or 0)
    made = 0
    for contenders, cause in _rounds(session, now):
        if made >= room:
            break
        made += _challenge(session, contenders, cause, now)
    return made


def miss_overdue(session: Session, now: datetime) -> int:
    """Challenges that were not answered in time; a lease that came in between, a lost node or a fault is an excuse."""
    rows = session.scalars(
        select(ProofChallenge)
        .where(ProofChallenge.state.in_(OPEN), ProofChallenge.due_at < now)
        .order_by(ProofChallenge.id)
        .limit(BATCH_MAX)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.state, row.judged_at = ChallengeState.MISSED, now
        row.disturbed = (
            was_leased(session, row, now)
            or not _heard(session, row.node_id)
            or mending.is_sick(session, row.node_id, row.device)
        )
        standing = standings.lock(session, row.node_id, row.device)
        if row.disturbed:
            standing.next_at = now + SETTLE
        else:
            standings.apply_miss(session, standing, row.cause, now)
        log.info("proof_missed", node_id=row.node_id, device=row.device, disturbed=row.disturbed)
    return len(rows)


def freeze_shared(session: Session, now: datetime) -> int:
    """Freeze every owner of a UUID that has more of them than were cleared at one barrier."""
    owned = (
        select(Gpu.uuid, func.count().label("owners"))
        .join(Node, Node.id == Gpu.node_id)
        .where(Gpu.present, ~Node.simulated, Node.state != NodeState.GONE)
        .group_by(Gpu.uuid)
        .having(func.count() > 1)
        .subquery()
    )
    rows = session.scalars(
        select(ProofStanding)
        .join(owned, owned.c.uuid == ProofStanding.device)
        .where(owned.c.owners > ProofStanding.owners_cleared)
        .where(ProofStanding.state.not_in((ProofState.FROZEN, ProofState.BANNED)))
        .order_by(ProofStanding.node_id, ProofStanding.device)
        .limit(BATCH_MAX)
        .with_for_update(of=ProofStanding)
    ).all()
    for row in rows:
        row.state, row.cause, row.next_at = ProofState.FROZEN, Cause.SHARED_UUID, now
        row.suspicion = "another node has a GPU of this UUID"
        standings.follow(session, row.node_id, leasable_changed=True)
        log.warning("gpu_frozen", node_id=row.node_id, device=row.device)
    return len(rows)


def was_leased(session: Session, row: ProofChallenge, until: datetime) -> bool:
    """Whether the challenged device was leased at some time between the challenge's start and `until`."""
    since = row.issued_at or row.starts_at
    during = (Lease.granted_at < until) & (Lease.released_at.is_(None) | (Lease.released_at > since))
    query = select(Lease.id).where(Lease.node_id == row.node_id, during)
    if row.device != CPU:
        query = (
            query.join(LeaseGpu, LeaseGpu.lease_id == Lease.id)
            .join(Gpu, Gpu.id == LeaseGpu.gpu_id)
            .where(Gpu.uuid == row.device)
        )
    return session.scalar(query.limit(1)) is not None


def _begin_standings(session: Session, now: datetime) -> None:
    begun = session.execute(_BEGIN, {"now": now, "settle": SETTLE, "most": BEGUN_MAX}).all()
    if not begun:
        return
    nodes = {row.node_id for row in begun}
    rows = session.execute(select(Gpu, Node).join(Node, Node.id == Gpu.node_id).where(among(Gpu.node_id, nodes)))
    doubted = {(node.id, gpu.uuid): doubts.of_facts(gpu, node) for gpu, node in rows}
    for node_id, device in begun:
        if why := doubted.get((node_id, device)):
            log.warning("gpu_contradicts_itself", node_id=node_id, device=device, why=why)
            standings.suspect(session, node_id, device, "; ".join(why), now)
    for node_id in sorted(nodes):
        standings.follow(session, node_id, leasable_changed=False)


def _rounds(session: Session, now: datetime) -> list[tuple[list[_Device], Cause]]:
    """Sets of devices that are challenged together, the longest due first."""
    idle = _idle(session, now)
    due = sorted(
        (device for device in idle if device.standing.next_at is not None and device.standing.next_at <= now),
        key=lambda device: (device.standing.next_at, device.node_id, device.device),
    )
    owners, own = defaultdict(list), defaultdict(list)
    for device in idle:
        if device.timed:
            owners[device.device].append(device)
        if device.timed and device.standing.state not in BARRED:
            own[device.provider_id].append(device)
    taken: set[tuple[str, str]] = set()
    found = []
    for device in due:
        if (device.node_id, device.device) in taken:
            continue
        cause = device.standing.cause
        if not device.timed:
            contenders = [device]
        elif cause is Cause.SHARED_UUID:
            contenders = owners[device.device]
        elif device.standing.state in BARRED:
            contenders = [device]
        else:
            contenders = own[device.provider_id]
        contenders = [each for each in contenders if (each.node_id, each.device) not in taken]
        taken.update((each.node_id, each.device) for each in contenders)
        found.append((contenders, cause))
    return found


def _idle(session: Session, now: datetime) -> list[_Device]:
    """Devices of nodes that are heard, that are well, that no lease holds and no challenge is under way for."""
    held = aliased(Lease)
    live = exists().where(
        ProofChallenge.node_id == ProofStanding.node_id,
        ProofChallenge.device == ProofStanding.device,
        ProofChallenge.state.in_((*OPEN, ChallengeState.ANSWERED)),
    )
    rows = session.execute(
        select(ProofStanding, Node, Gpu)
        .join(Node, Node.id == ProofStanding.node_id)
        .outerjoin(Gpu, (Gpu.node_id == Node.id) & (Gpu.uuid == ProofStanding.device) & Gpu.present)
        .where(Node.state == NodeState.ONLINE, ~live, ProofStanding.next_at.is_not(None))
        .where((ProofStanding.device == CPU) | (Gpu.id.is_not(None) & ~mending.SICK))
        .where(
            ~exists().where(held.node_id == Node.id, held.released_at.is_(None)).where(ProofStanding.device == CPU),
            ~exists().where(LeaseGpu.gpu_id == Gpu.id, LeaseGpu.released_at.is_(None)),
        )
        .where(
            (ProofStanding.next_at <= now)
            | Node.provider_id.in_(
                select(Node.provider_id)
                .join(ProofStanding, ProofStanding.node_id == Node.id)
                .where(ProofStanding.next_at <= now)
            )
            | ProofStanding.device.in_(select(ProofStanding.device).where(ProofStanding.cause == Cause.SHARED_UUID))
        )
        .order_by(ProofStanding.next_at)
    )
    gpus_there = set(session.scalars(select(Gpu.node_id).where(Gpu.present).distinct()))
    return [
        _Device(node.id, node.provider_id, standing.device, node.simulated, gpu, standing)
        for standing, node, gpu in rows
        if standing.device != CPU or node.id not in gpus_there
    ]


def _challenge(session: Session, contenders: Sequence[_Device], cause: Cause, now: datetime) -> int:
    """Challenge these devices, in groups under their owner's circuit limit."""
    shuffled = list(contenders)
    secrets.SystemRandom().shuffle(shuffled)
    by_key = {(device.node_id, device.device): device for device in shuffled}
    limit = None
    if cause is not Cause.SHARED_UUID:
        limit = session.scalar(select(Provider.circuit_watts).where(Provider.id == shuffled[0].provider_id))
    parts = groups([Contender(device.node_id, device.device, device.watts) for device in shuffled], limit)
    for number, part in enumerate(parts):
        together = len(part) > 1
        starts_at = now + LEAD + number * STAGGER if together else now
        barrier_id = uuid.uuid4().hex
        for contender in part:
            device = by_key[contender.node_id, contender.device]
            _insert(session, device, cause, barrier_id, starts_at, now, together=together)
    return len(shuffled)


def _insert(
    session: Session,
    device: _Device,
    cause: Cause,
    barrier_id: str,
    starts_at: datetime,
    now: datetime,
    *,
    together: bool,
) -> None:
    extent = _extent(session, device)
    session.execute(
        insert(ProofChallenge)
        .values(
            id=new_id("prf"),
            node_id=device.node_id,
            provider_id=device.provider_id,
            device=device.device,
            model=device.gpu.model if device.gpu is not None and device.real_gpu else None,
            power_limit_watts=device.watts,
            cause=cause,
            barrier_id=barrier_id,
            together=together,
            state=ChallengeState.WAITING,
            size=extent.size,
            rounds=extent.rounds,
            kept=extent.kept,
            created_at=now,
            starts_at=starts_at,
            due_at=starts_at + ANSWER_WITHIN,
        )
        .on_conflict_do_nothing()
    )


def _extent(session: Session, device: _Device) -> sizing.Extent:
    if device.gpu is None or not device.real_gpu:
        return sizing.SMALL
    known = rates.of_model(session, device.gpu.model)
    with_memory = device.standing.audits % MEMORY_EVERY == 0
    return sizing.extent_for(card_of(device.gpu.model), device.gpu.memory_bytes, known, with_memory=with_memory)


def _heard(session: Session, node_id: str) -> bool:
    return session.scalar(select(Node.state).where(Node.id == node_id)) is NodeState.ONLINE
