"""Logs: segments in storage, indexed by rows; an agent appends by offset and never doubles or skips a byte."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from infra.storage import Storage
from infra.wakeups import after_commit
from market.agent_api import LOG_CHUNK_MAX_BYTES, LOG_MAX_BYTES
from market.errors import NotFound, StaleAttempt, TooLarge
from scheduler.tables import Attempt, Job, LogSegment

READ_SEGMENTS_MAX = 64


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of one attempt's log from an offset on."""

    attempt_number: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


def append(
    session: Session,
    storage: Storage,
    node_id: str,
    attempt_id: str,
    offset: int,
    data: bytes,
    now: datetime,
) -> int:
    """Store what is new of a chunk; returns where the stored log ends, and so where the agent goes on.

    What is stored already is skipped; a chunk that begins past the end stores nothing. Raises NotFound for another
    node's attempt, StaleAttempt for one that has ended, TooLarge for a chunk or log above its limit.
    """
    if len(data) > LOG_CHUNK_MAX_BYTES:
        raise TooLarge(f"a log chunk has at most {LOG_CHUNK_MAX_BYTES} bytes")
    attempt = session.scalars(
        select(Attempt)
        .where(Attempt.id == attempt_id, Attempt.node_id == node_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if attempt is None:
        raise NotFound(f"this node has no attempt {attempt_id}")
    start = attempt.log_end
    if not offset <= start < offset + len(data):
        return start
    if attempt.state.final:
        raise StaleAttempt(f"attempt {attempt_id} has ended: its log is closed")
    if offset + len(data) > LOG_MAX_BYTES:
        raise TooLarge(f"a log has at most {LOG_MAX_BYTES} bytes; the rest of this one is not kept")
    fresh = data[start - offset :]
    storage.put(_key(attempt_id, start), fresh)
    session.add(LogSegment(attempt_id=attempt_id, start_offset=start, size_bytes=len(fresh), stored_at=now))
    attempt.log_end = start + len(fresh)
    session.flush()
    after_commit(session, f"log:{attempt.job_id}")
    return attempt.log_end


def read(
    session: Session, storage: Storage, job_id: str, attempt_number: int, offset: int, limit_bytes: int
) -> list[LogPiece]:
    """A job's log from that place on, through its later attempts, at most limit_bytes of it; empty at its end."""
    rows = session.execute(
        select(Attempt.id, Attempt.number, LogSegment.start_offset, LogSegment.size_bytes)
        .join(LogSegment, LogSegment.attempt_id == Attempt.id)
        .where(
            Attempt.job_id == job_id,
            or_(
                Attempt.number > attempt_number,
                and_(Attempt.number == attempt_number, LogSegment.start_offset + LogSegment.size_bytes > offset),
            ),
        )
        .order_by(Attempt.number, LogSegment.start_offset)
        .limit(READ_SEGMENTS_MAX)
    ).all()
    pieces: list[LogPiece] = []
    for attempt_id, number, start, size in rows:
        if limit_bytes <= 0:
            break
        skipped = max(0, offset - start) if number == attempt_number else 0
        data = storage.get(_key(attempt_id, start), skipped, min(size, skipped + limit_bytes))
        pieces.append(LogPiece(number, start + skipped, data))
        limit_bytes -= len(data)
    return pieces


def ended(session: Session, job_id: str, attempt_number: int, offset: int) -> bool:
    """Whether the job has ended and nothing of its log lies beyond that place."""
    job = session.execute(select(Job.state, Job.attempts_placed).where(Job.id == job_id)).one_or_none()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    if not job.state.final:
        return False
    if job.attempts_placed == 0:
        return True
    rows = session.execute(
        select(Attempt.number, Attempt.log_end).where(Attempt.job_id == job_id, Attempt.number >= attempt_number)
    )
    return all(row.log_end <= (offset if row.number == attempt_number else 0) for row in rows)


def _key(attempt_id: str, offset: int) -> str:
    return f"logs/{attempt_id}/{offset}"
