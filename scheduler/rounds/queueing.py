"""The waiting rows in the order of their turns: which a round reads, who goes first, and what is remembered of it.

While nobody has been told to wait there is nothing to share: rows are taken as they came. As soon as some compete, the
queue of placement says whose turn it is.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import delete, exists, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.statements import Statement
from market.states import JobState, Reason
from scheduler.placement.queue.competition import Competition
from scheduler.placement.queue.turns import Turns
from scheduler.placement.queue.waiting import Waiting, capacity_of
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot
from scheduler.rounds import asking, discounts, holdings
from scheduler.rounds.asking import request_of_row
from scheduler.rounds.queued import COLUMNS, WAITS, Queued, Words
from scheduler.tables import Job, QueueMark

ROWS_MAX = 20_000
"""Of a queue longer than a round, so many rows are put in order at most, equally many of each organization."""
OVER_CEILING = "its organization holds as many GPUs as it may"
_WAITING = (Job.state == JobState.QUEUED, Job.funded_seconds.is_not(None))
_SPOT = func.coalesce(Job.spec["spot"].as_boolean(), False)
_PRIORITY = func.coalesce(Job.spec["priority"].as_integer(), 0)


_BEFORE_ALL = datetime.min.replace(tzinfo=UTC), ""
_LOCKED = "FOR NO KEY UPDATE SKIP LOCKED"
# Every name in them is our own.
_PAGE = Statement(
    f"SELECT {COLUMNS} FROM jobs WHERE {WAITS} AND (created_at, id) > (cast(:at AS timestamptz), :id) "  # noqa: S608
    f"ORDER BY created_at, id LIMIT :limit {_LOCKED}"
)
_THESE = Statement(f"SELECT {COLUMNS} FROM jobs WHERE {WAITS} AND id = ANY(cast(:ids AS text[])) {_LOCKED}")  # noqa: S608


class Walk:
    """One way through the queue, a page of at most `limit` rows at a time. done: no further page is known of."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._after = _BEFORE_ALL
        self._order: Iterator[str] | None = None
        self.done = False

    def page(self, session: Session) -> Sequence[Queued]:
        """The next rows, locked. Those that somebody else is changing just now are passed over: the change wakes
        another round."""
        if self._order is not None:
            return self._next(session, self._order)
        at, job_id = self._after
        jobs: list[Queued] = _PAGE.rows(session, {"at": at, "id": job_id, "limit": self._limit})
        self.done = len(jobs) < self._limit
        if not self.done and self._after == _BEFORE_ALL and _competition(session):
            self._order = iter(_order(session))
            return self._next(session, self._order)
        if jobs:
            self._after = jobs[-1].created_at, jobs[-1].id
        return jobs

    def _next(self, session: Session, order: Iterator[str]) -> Sequence[Queued]:
        ids = list(islice(order, self._limit))
        self.done = len(ids) < self._limit
        found: dict[str, Queued] = {job.id: job for job in _THESE.rows(session, {"ids": ids})}
        return [found[job_id] for job_id in ids if job_id in found]


def competition(
    session: Session, jobs: Sequence[Queued], requests: Sequence[Request], snapshot: Snapshot, now: datetime
) -> Competition | None:
    """What the turns of a page follow from, where some of it compete."""
    if not _compete(jobs) and not holdings.any_ceiling(session, {job.organization_id for job in jobs}, now):
        return None
    ids = {job.id for job in jobs}
    marks = _marks(session, ids)
    here = [
        _waiting(job, request, job.priority, marks.get(job.id)) for job, request in zip(jobs, requests, strict=True)
    ]
    elsewhere = [job_id for job_id, mark in marks.items() if mark.held_nodes and job_id not in ids]
    others = session.scalars(select(Job).where(Job.id.in_(elsewhere), *_WAITING)).all() if elsewhere else ()
    less = discounts.of(session, {job.organization_id for job in others}) if others else {}
    beyond = [_waiting(job, request_of_row(job, less.get(job.organization_id, 0)), 0, marks[job.id]) for job in others]
    known, at = holdings.known(session, now), int(now.timestamp())
    # Only who is due and has no places needs to know where some will be free.
    due = any(one.passed_at is not None and not one.held for one in here)
    running = holdings.running(session) if due else {}
    return Competition(tuple(here), tuple(beyond), known.accounts, known.used, capacity_of(snapshot), at, running)


def note(session: Session, words: Words, taken: Turns, now: datetime) -> None:
    """Remember what a round's turns came to: who was passed over, where places are held, who waits for its ceiling."""
    holdings.follow(taken.shares.used)
    before = {one.request.job_id: one.held for one in taken.holding}
    held = {job_id: nodes for job_id, nodes in taken.held.items() if nodes != before.get(job_id)}
    marked = taken.passed + [job_id for job_id in held if job_id not in taken.passed]
    if marked:
        rows = [
            {"job_id": job_id, "passed_at": now, "held_nodes": list(held.get(job_id, ()))} for job_id in sorted(marked)
        ]
        statement = insert(QueueMark).values(rows)
        places = {"held_nodes": statement.excluded.held_nodes}
        session.execute(statement.on_conflict_do_update(index_elements=["job_id"], set_=places))
    for job_id in taken.ceilings:
        reason, detail = words.of(job_id)
        if detail != OVER_CEILING and reason != Reason.RECOVERING_PROVIDER_LOST:
            words.say(job_id, OVER_CEILING, Reason.QUEUED_FOR_CAPACITY)


def forget(session: Session) -> int:
    """Drop the marks of jobs that no longer wait; returns how many."""
    waits = exists().where(Job.id == QueueMark.job_id, Job.state == JobState.QUEUED)
    gone = session.execute(delete(QueueMark).where(~waits).returning(QueueMark.job_id))
    return len(gone.all())


def _compete(jobs: Sequence[Queued]) -> bool:
    """Whether one of several has been told to wait, wants to go first, or goes last as a spot job."""
    return len(jobs) > 1 and any(job.reason != Reason.QUEUED_FOR_PLACEMENT or job.priority or job.spot for job in jobs)


def _competition(session: Session) -> bool:
    """The same of the whole queue: several organizations, priorities, spot jobs, work of lost nodes or marks."""
    first, last = func.min(Job.organization_id), func.max(Job.organization_id)
    recovering = func.bool_or(Job.reason == Reason.RECOVERING_PROVIDER_LOST)
    query = select(or_(first != last, recovering, exists(select(QueueMark.job_id)))).where(*_WAITING)
    if session.scalar(query):
        return True
    return bool(session.scalar(select(exists(select(Job.id).where(*_WAITING, or_(_PRIORITY != 0, _SPOT))))))


def _order(session: Session) -> list[str]:
    """The jobs of a long queue in their turns, as if each found room."""
    recovering = Job.reason == Reason.RECOVERING_PROVIDER_LOST
    nth = func.row_number().over(
        partition_by=Job.organization_id,
        order_by=(_SPOT, QueueMark.job_id.is_(None), recovering.desc(), _PRIORITY.desc(), Job.created_at, Job.id),
    )
    numbered = select(
        *asking.COLUMNS,
        Job.organization_id,
        Job.created_at,
        Job.reason,
        _PRIORITY.label("priority"),
        _SPOT.label("spot"),
        nth.label("nth"),
    )
    rows = numbered.outerjoin(QueueMark, QueueMark.job_id == Job.id).where(*_WAITING).subquery()
    page = select(rows).order_by(rows.c.nth, rows.c.created_at, rows.c.id).limit(ROWS_MAX)
    now = session.scalar(select(func.now()))
    assert now is not None
    known = holdings.known(session, now)
    found = session.execute(page).all()
    marks = _marks(session, {row.id for row in found})
    waiting = tuple(_waiting(row, request_of_row(row), row.priority, marks.get(row.id)) for row in found)
    capacity, at = holdings.capacity(session), int(now.timestamp())
    turns = Competition(waiting, (), known.accounts, known.used, capacity, at).turns()
    order: list[str] = []
    for request in turns:
        turns.tell(request, placed=True)
        order.append(request.job_id)
    return order + turns.ceilings


def _waiting(job: Any, request: Request, priority: int, mark: QueueMark | None) -> Waiting:
    return Waiting(
        request,
        job.organization_id,
        int(job.created_at.timestamp()),
        priority=priority,
        recovering=job.reason == Reason.RECOVERING_PROVIDER_LOST,
        standing=job.reason == Reason.NO_OFFER,
        passed_at=int(mark.passed_at.timestamp()) if mark else None,
        held=tuple(mark.held_nodes) if mark else (),
    )


def _marks(session: Session, job_ids: Collection[str]) -> dict[str, QueueMark]:
    """Of these jobs, and of all for whom places are held."""
    wanted = or_(QueueMark.job_id.in_(job_ids), func.cardinality(QueueMark.held_nodes) > 0)
    rows = session.scalars(select(QueueMark).where(wanted).execution_options(populate_existing=True))
    return {mark.job_id: mark for mark in rows}
