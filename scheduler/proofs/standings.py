"""Where devices stand, as rows: what a verdict changes, when a device is due again, and appeals."""

import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.errors import Conflict, NotFound
from market.resources import MIG_UUID
from scheduler.proofs.judgement import BARRED, SCORE_MAX, Outcome, ProofState, Standing, Verdict, after, after_miss
from scheduler.tables import Gpu, Node, NodeState, ProofStanding
from scheduler.tables.proofs import CPU, Cause
from scheduler.waking import PLACE

AUDIT_EVERY = timedelta(hours=25)
"""A device is audited at a random moment in the second half of this, counted from its last audit."""
DOUBTED_EVERY = timedelta(hours=6)
"""Where something about it does not fit together."""
AGAIN_SOON = timedelta(minutes=5)
APPEAL_EVERY = timedelta(hours=24)

_random = secrets.SystemRandom()


def lock(session: Session, node_id: str, device: str) -> ProofStanding:
    """The row of a device, locked; made where there is none."""
    found = session.get(ProofStanding, (node_id, device), with_for_update=True, populate_existing=True)
    if found is None:
        found = ProofStanding(node_id=node_id, device=device, state=ProofState.UNPROVEN, cause=Cause.JOIN)
        session.add(found)
        session.flush()
    return found


def apply(session: Session, row: ProofStanding, verdict: Verdict, cause: Cause, now: datetime) -> None:
    """What a verdict changes of a locked standing, and when the device is next looked at."""
    was_barred = row.state in BARRED
    of_slice = row.device.startswith(MIG_UUID)
    # Slices take no part in barriers: one is free again when nobody else has its UUID any more.
    together = cause is Cause.SHARED_UUID and not (of_slice and _has_others(session, row))
    _write(row, after(_standing(row), verdict, together=together, of_slice=of_slice))
    row.audits += 1
    row.suspicion = ""
    passed = verdict.outcome is Outcome.PASSED
    if passed:
        row.proven_at = now
    if row.state is ProofState.BANNED:
        # Who appealed is asked until it has passed as often as is needed, or failed again.
        row.cause, row.next_at = Cause.APPEAL, _soon(now) if cause is Cause.APPEAL and passed else None
    elif row.state is ProofState.FROZEN:
        row.cause, row.next_at = Cause.SHARED_UUID, _soon(now)
    elif passed:
        row.cause, row.next_at = Cause.IDLE, now + _random.uniform(0.5, 1) * AUDIT_EVERY
    else:
        row.cause, row.next_at = Cause.SUSPICION, _soon(now)
    follow(session, row.node_id, leasable_changed=was_barred != (row.state in BARRED))


def apply_miss(session: Session, row: ProofStanding, cause: Cause, now: datetime) -> None:
    """What a missed challenge changes. Of the owners of one UUID, who stays away from the barrier is frozen."""
    was_barred, standing = row.state in BARRED, after_miss(_standing(row))
    if cause is Cause.SHARED_UUID and row.state is not ProofState.BANNED:
        standing = replace(standing, state=ProofState.FROZEN)
    _write(row, standing)
    if row.state is not ProofState.BANNED:
        row.next_at = _soon(now)
    follow(session, row.node_id, leasable_changed=was_barred != (row.state in BARRED))


def follow(session: Session, node_id: str, *, leasable_changed: bool) -> None:
    """Bring what placement reads of a node in line: verified once all of its devices are, barred while all of them are.

    A change of that, or of one device (leasable_changed), makes placements void that were decided before it.
    """
    session.flush()
    node = session.scalars(
        select(Node).where(Node.id == node_id).with_for_update(key_share=True).execution_options(populate_existing=True)
    ).one()
    present = list(session.scalars(select(Gpu.uuid).where(Gpu.node_id == node_id, Gpu.present))) or [CPU]
    rows = session.execute(
        select(ProofStanding.device, ProofStanding.state).where(
            ProofStanding.node_id == node_id, ProofStanding.device.in_(present)
        )
    )
    states: dict[str, ProofState] = {row.device: row.state for row in rows}
    verified = all(states.get(device) is ProofState.VERIFIED for device in present)
    barred = all(states.get(device) in BARRED for device in present)
    if leasable_changed or (node.verified, node.barred) != (verified, barred):
        node.verified, node.barred = verified, barred
        node.revision += 1
        session.flush()
        wake(session, PLACE)


def appeal(session: Session, provider_id: str, node_id: str, device: str, now: datetime) -> ProofStanding:
    """Have a banned device challenged again: three proofs in a row lift the ban. Raises NotFound, Conflict."""
    own = session.scalar(select(Node.id).where(Node.id == node_id, Node.provider_id == provider_id))
    row = session.get(ProofStanding, (node_id, device), with_for_update=True) if own is not None else None
    if row is None:
        raise NotFound("there is no such device of yours")
    if row.state is not ProofState.BANNED:
        raise Conflict(f"this device is {row.state.value}: only a ban can be appealed")
    if row.appealed_at is not None and now - row.appealed_at < APPEAL_EVERY:
        raise Conflict("this device's ban was appealed within the last day", remedy="wait until a day has passed")
    row.appealed_at, row.cause, row.next_at, row.passes = now, Cause.APPEAL, now, 0
    return row


def lift(session: Session, node_id: str, device: str, now: datetime) -> ProofStanding:
    """An operator's word: the device stands as if it had never been challenged. Raises NotFound."""
    row = session.get(ProofStanding, (node_id, device), with_for_update=True)
    if row is None:
        raise NotFound("there is no such device")
    _write(row, Standing())
    row.cause, row.next_at, row.suspicion = Cause.JOIN, now, ""
    follow(session, node_id, leasable_changed=True)
    return row


def suspect(session: Session, node_id: str, device: str, why: str, now: datetime) -> None:
    """Have a device challenged soon, because something about it does not fit."""
    session.execute(
        update(ProofStanding)
        .where(ProofStanding.node_id == node_id, ProofStanding.device == device, ProofStanding.suspicion == "")
        .where(ProofStanding.state.not_in(BARRED))
        .values(suspicion=why[:500], cause=Cause.SUSPICION, next_at=now)
    )


def doubt(row: ProofStanding, why: str, now: datetime) -> None:
    """Note of a device that has just passed that something about it does not fit: its next audit comes earlier."""
    row.suspicion = why[:500]
    if row.cause is Cause.IDLE:
        row.next_at = now + _random.uniform(0.5, 1) * DOUBTED_EVERY


def _has_others(session: Session, row: ProofStanding) -> bool:
    """Whether another node has a device of that UUID."""
    others = select(Gpu.id).join(Node, Node.id == Gpu.node_id).where(Gpu.uuid == row.device, Gpu.present)
    return session.scalar(others.where(Node.id != row.node_id, Node.state != NodeState.GONE).limit(1)) is not None


def _standing(row: ProofStanding) -> Standing:
    slow = tuple(letter == "s" for letter in row.slow)
    return Standing(row.state, row.failures, row.misses, row.passes, slow, row.score)


def _write(row: ProofStanding, standing: Standing) -> None:
    assert 0 <= standing.score <= SCORE_MAX
    row.state, row.failures, row.misses = standing.state, standing.failures, standing.misses
    row.passes, row.score = standing.passes, standing.score
    row.slow = "".join("s" if slow else "-" for slow in standing.slow)


def _soon(now: datetime) -> datetime:
    return now + _random.uniform(0.2, 1) * AGAIN_SOON
