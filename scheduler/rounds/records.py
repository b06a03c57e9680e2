"""Rounds on record: written with what they decided, kept for a while, and decided again when somebody asks."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import delete, event, func, select
from sqlalchemy.orm import Session

from infra.bulk import insert_rows
from market.errors import NotFound
from market.ids import is_id, new_id
from scheduler.placement.engine import Engine
from scheduler.placement.queue.competition import Competition
from scheduler.placement.record.round import Came, Replay, Replayed, Told, digest, written
from scheduler.placement.snapshot import Snapshot
from scheduler.tables import PlacementRound

CHAIN_MAX = 500
"""Records until one tells the whole market again; so many are read at most to decide one again."""
IDLE_EVERY = timedelta(minutes=1)
"""Rounds that place nothing are recorded so often."""
CHAIN_FOR = timedelta(hours=1)
KEPT_FOR = timedelta(days=7)
KEPT_BYTES_MAX = 1 << 30
LIST_MAX = 200


@dataclass(slots=True)
class _Chain:
    """The record that the next one of this process follows. changed: the nodes that have changed since it, None: nobody
    knows. snapshot: the newest that `changed` reaches to."""

    chain_id: str = ""
    number: int = 0
    digest: str = ""
    at: datetime | None = None
    began_at: datetime | None = None
    snapshot: Snapshot | None = None
    changed: set[int] | None = None
    recent: tuple[str, ...] = field(default=())


_chain = _Chain()
"""For brevity alone: where it says too little the next record tells the whole market. The round's lock lets one thread
at it."""


def write(
    session: Session,
    engine: Engine,
    snapshot: Snapshot,
    told: Told,
    came: Came,
    now: datetime,
) -> None:
    """Put a round on record, with what else its transaction writes."""
    _follow(engine, snapshot)
    at = _chain.at
    if not came.choice.decisions and not came.reclaims and at is not None and timedelta(0) <= now - at < IDLE_EVERY:
        return
    whole = _chain.changed is None or _ends(_chain, now)
    of = tuple(one.job_id for one in told.recent or ())
    if not whole and of == _chain.recent:
        told = replace(told, recent=None)
    body = written(told, came, snapshot, None if whole else _chain.changed)
    record_id = new_id("rnd")
    after = _Chain(
        chain_id=record_id if whole else _chain.chain_id,
        number=0 if whole else _chain.number + 1,
        digest=digest("" if whole else _chain.digest, body),
        at=now,
        began_at=now if whole else _chain.began_at,
        snapshot=snapshot,
        changed=set(),
        recent=of,
    )
    waiting = told.asked.waiting if isinstance(told.asked, Competition) else told.asked
    row = {
        "id": record_id,
        "chain_id": after.chain_id,
        "number": after.number,
        "decided_at": now,
        "asked": len(waiting),
        "placed": len(came.choice.decisions),
        "digest": after.digest,
        "size_bytes": len(body),
        # As PostgreSQL reads bytes from text.
        "body": f"\\x{body.hex()}",
    }
    insert_rows(session, PlacementRound, [row])
    _chain.changed = None
    event.listen(session, "after_commit", lambda _: _go_on(after, snapshot), once=True)


def recorded(session: Session, limit: int = 50, before: str | None = None) -> list[PlacementRound]:
    """The newest rounds on record, newest first. before: the id of the last one of the page before."""
    query = select(PlacementRound).order_by(PlacementRound.id.desc()).limit(min(limit, LIST_MAX))
    if before is not None:
        query = query.where(PlacementRound.id < before)
    return list(session.scalars(query))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What deciding a round again came to. sound: no record of its chain up to it was changed or left out."""

    round: PlacementRound
    replayed: Replayed
    sound: bool

    @property
    def agrees(self) -> bool:
        return self.sound and self.replayed.agrees


def replay(session: Session, round_id: str) -> Verdict:
    """Decide a recorded round again. Raises NotFound."""
    wanted = session.get(PlacementRound, round_id) if is_id(round_id, "rnd") else None
    if wanted is None:
        raise NotFound("there is no such round on record", remedy="list them: gridbay admin round list")
    chain = session.scalars(
        select(PlacementRound)
        .where(PlacementRound.chain_id == wanted.chain_id, PlacementRound.number < wanted.number)
        .order_by(PlacementRound.number)
    ).all()
    again, before, sound = Replay(), "", len(chain) == wanted.number
    for one in chain:
        before = digest(before, one.body)
        sound = sound and before == one.digest
        again.follow(one.body)
    sound = sound and digest(before, wanted.body) == wanted.digest
    return Verdict(wanted, again.decide(wanted.body), sound)


def forget(session: Session, now: datetime, bytes_max: int = KEPT_BYTES_MAX) -> int:
    """Drop whole chains that are older than records are kept, or too much together; returns how many records."""
    last, size = func.max(PlacementRound.decided_at).label("last"), func.sum(PlacementRound.size_bytes).label("size")
    chains = select(PlacementRound.chain_id, last, size).group_by(PlacementRound.chain_id).subquery()
    together = func.sum(chains.c.size).over(order_by=chains.c.last.desc())
    kept = select(chains.c.chain_id, chains.c.last, together.label("together")).subquery()
    gone = select(kept.c.chain_id).where((kept.c.last < now - KEPT_FOR) | (kept.c.together > bytes_max))
    result = session.execute(
        delete(PlacementRound).where(PlacementRound.chain_id.in_(gone)).returning(PlacementRound.id)
    )
    return len(result.all())


def _follow(engine: Engine, snapshot: Snapshot) -> None:
    """Gather what has changed since the last record."""
    if _chain.snapshot is not engine.followed or engine.changes is None:
        _chain.changed = None
    elif _chain.changed is not None:
        _chain.changed |= engine.changes.nodes
    _chain.snapshot = snapshot


def _ends(chain: _Chain, now: datetime) -> bool:
    """Whether the next record begins a chain of its own, so that old ones can be dropped whole."""
    began = chain.began_at
    return began is None or chain.number + 1 >= CHAIN_MAX or not timedelta(0) <= now - began < CHAIN_FOR


def _go_on(after: _Chain, snapshot: Snapshot) -> None:
    """The record is there: the next one may follow it."""
    global _chain  # noqa: PLW0603 (the process's one chain)
    if _chain.snapshot is snapshot:
        _chain = after
