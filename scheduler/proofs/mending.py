"""Back when proven: a GPU that was in quarantine and is well, by its agent's word, is leased again once it has proven
itself since. Its row is in quarantine until then (scheduler/supply/health.py)."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.orm import Session

from scheduler.proofs import standings
from scheduler.proofs.judgement import BARRED
from scheduler.tables import Gpu, ProofStanding
from scheduler.tables.proofs import Cause

MENDED: ColumnElement[bool] = and_(Gpu.quarantined, Gpu.mended_at.is_not(None))
SICK: ColumnElement[bool] = and_(Gpu.quarantined, Gpu.mended_at.is_(None))


def challenge(session: Session, now: datetime) -> None:
    """Have every mended GPU challenged soon, which it is already where it has just failed or missed a challenge."""
    session.execute(
        update(ProofStanding)
        .where(ProofStanding.node_id == Gpu.node_id, ProofStanding.device == Gpu.uuid, MENDED, Gpu.present)
        .where(ProofStanding.state.not_in(BARRED))
        .where(ProofStanding.next_at.is_(None) | (ProofStanding.next_at > now + standings.AGAIN_SOON))
        .values(cause=Cause.MENDED, next_at=now)
        .execution_options(synchronize_session=False)
    )


def release(session: Session, node_id: str, device: str, proof_began_at: datetime) -> None:
    """Take a GPU back that has passed a proof which began after it had mended."""
    _release(session, and_(Gpu.node_id == node_id, Gpu.uuid == device, Gpu.mended_at <= proof_began_at))


def release_all(session: Session) -> None:
    """Take back whatever has mended: nobody is challenged on this market."""
    _release(session, Gpu.present.is_(True))


def _release(session: Session, which: ColumnElement[bool]) -> None:
    """Nodes are locked before their GPUs, as wherever health is told."""
    for node_id in sorted(set(session.scalars(select(Gpu.node_id).where(MENDED, which)))):
        standings.follow(session, node_id, leasable_changed=True)
        freed = update(Gpu).where(Gpu.node_id == node_id, MENDED, which).values(quarantined=False)
        session.execute(freed.execution_options(synchronize_session=False))


def is_sick(session: Session, node_id: str, device: str) -> bool:
    """Whether its agent says that something is wrong with it now."""
    sick = select(Gpu.id).where(Gpu.node_id == node_id, Gpu.uuid == device, SICK)
    return session.scalar(sick) is not None
