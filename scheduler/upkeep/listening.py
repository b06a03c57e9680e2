"""Whether the portal listens: it notes every few seconds that it takes polls. Its own silence is not that of the nodes.

Nobody can be heard by a portal that is down. The sweep looks here before it calls a node lost, however few nodes there
are: of a market with one node, the node's silence alone would never tell which of the two was away.
"""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from scheduler.tables import PortalPulse

NOTE_SECONDS = 2.0
"""How often a portal notes it; far below half of the time after which a node counts as silent."""


def note(session: Session, now: datetime) -> None:
    """A portal takes polls at this moment."""
    fresh = insert(PortalPulse).values(id=1, listened_at=now)
    latest = func.greatest(PortalPulse.listened_at, fresh.excluded.listened_at)
    session.execute(fresh.on_conflict_do_update(index_elements=["id"], set_={"listened_at": latest}))


def last(session: Session) -> datetime | None:
    """When a portal last noted it; None if none ever did."""
    return session.scalar(select(PortalPulse.listened_at))
