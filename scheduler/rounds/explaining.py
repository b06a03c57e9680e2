"""Why a job waits, or stands where it stands, by the market as it is now."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from market.errors import NotFound
from market.states import JobState
from scheduler.placement.books import Books
from scheduler.placement.explain import Explanation, explain
from scheduler.placement.requests import Request
from scheduler.placement.rules import RULES, STANDING_RULES
from scheduler.placement.sieve import sieve
from scheduler.rounds import discounts, snapshots
from scheduler.rounds.asking import request_of_row
from scheduler.tables import Attempt, Job, Node, QueueMark, SpotAttempt
from scheduler.work import spot
from scheduler.work.locked import newest_of
from scheduler.work.spot import is_spot


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """explanation: of a queued job by every rule, of another by what offers are. node: of its newest attempt. spot: of
    a spot job."""

    job: Job
    explanation: Explanation
    passed_since: datetime | None
    held_nodes: int
    attempt: Attempt | None
    node: Node | None
    spot: "SpotStanding | None" = None


@dataclass(frozen=True, slots=True)
class SpotStanding:
    """How a spot job's bid fares; amounts in micro-USDC for a unit and hour. asked: what the offer asked that it stands
    on. reclaimed: how many attempts made room for others, the last one at reclaimed_at, for a bid of outbid_by, None:
    for a job that pays the posted price. lowest_bid: of what runs where this job might; more than that takes its place.
    """

    bid: int
    asked: int | None
    reclaimed: int
    reclaimed_at: datetime | None
    outbid_by: int | None
    lowest_bid: int | None


def explain_job(session: Session, organization_id: str, job_id: str, now: datetime) -> JobExplanation:
    """Raises NotFound."""
    job = session.get(Job, job_id)
    if job is None or job.organization_id != organization_id:
        raise NotFound("there is no such job here")
    waits = job.state is JobState.QUEUED
    books = Books(snapshots.load(session))
    request = request_of_row(job, discounts.of(session, [organization_id]).get(organization_id, 0))
    found = explain(books, request, RULES if waits else STANDING_RULES)
    mark = session.get(QueueMark, job_id) if waits else None
    work = None if waits else newest_of(session, job)
    attempt = work.attempt if work else None
    node = session.get(Node, attempt.node_id) if attempt else None
    passed_at, held = (mark.passed_at, len(mark.held_nodes)) if mark else (None, 0)
    fares = _spot(session, books, job, request, attempt, now) if is_spot(job) else None
    return JobExplanation(job, found, passed_at, held, attempt, node, fares)


def _spot(
    session: Session, books: Books, job: Job, request: Request, attempt: Attempt | None, now: datetime
) -> SpotStanding:
    rows = session.scalars(select(SpotAttempt).where(SpotAttempt.job_id == job.id).order_by(SpotAttempt.attempt_id))
    kept = {row.attempt_id: row for row in rows}
    lost = sorted((row for row in kept.values() if row.reclaimed_at), key=lambda row: str(row.reclaimed_at))
    stands = kept.get(attempt.id) if attempt is not None else None
    suits = sieve(books, request, STANDING_RULES).suits
    hosts = {books.snapshot.offers[at].node_id for at in suits.nonzero()[0].tolist()}
    bids = [work.bid for work in spot.live(session, now) if work.node_id in hosts and work.job_id != job.id]
    return SpotStanding(
        bid=request.bid,
        asked=stands.asked_microusd_per_unit_hour if stands else None,
        reclaimed=len(lost),
        reclaimed_at=lost[-1].reclaimed_at if lost else None,
        outbid_by=lost[-1].outbid_by_microusd_per_unit_hour if lost else None,
        lowest_bid=min(bids, default=None),
    )
