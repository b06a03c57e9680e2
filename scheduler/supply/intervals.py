"""Supply over time: the intervals in which something of a node could be leased, or was, for utilization.

The rows are followed, not told of: a task compares what is offered with the open intervals every few seconds, so that
no path that changes a node, an offer or a GPU has to remember to.
"""

from datetime import datetime, timedelta

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from scheduler.tables import SupplyInterval, SweepPulse

PAUSE_MAX = timedelta(hours=1)
"""Nobody followed for longer than this: the market was off, and what was open ended when it was last followed."""

# What is in quarantine or barred could not have been leased; what of it is leased runs on, and counts until it ends.
_OFFERED = """
    SELECT offers.node_id, offers.unit, offers.model, nodes.provider_id, nodes.simulated,
        CASE
            WHEN offers.unit = 'gpu' THEN 1000 * count(gpus.id)
            WHEN NOT (nodes.quarantined OR nodes.barred) THEN nodes.cpu_total_milli
            ELSE (
                SELECT coalesce(sum(leases.quantity_milli), 0)::bigint FROM leases
                WHERE leases.node_id = nodes.id AND leases.unit = 'cpu' AND leases.released_at IS NULL
            )
        END AS quantity_milli
    FROM offers
    JOIN nodes ON nodes.id = offers.node_id AND nodes.state = 'online'
    LEFT JOIN gpus ON offers.unit = 'gpu' AND gpus.node_id = nodes.id AND gpus.model = offers.model AND gpus.present
        AND (
            NOT (nodes.quarantined OR nodes.barred OR gpus.quarantined OR EXISTS (
                SELECT FROM proof_standings AS standing
                WHERE standing.node_id = nodes.id AND standing.device = gpus.uuid
                    AND standing.state IN ('frozen', 'banned')
            ))
            OR EXISTS (SELECT FROM lease_gpus WHERE lease_gpus.gpu_id = gpus.id AND lease_gpus.released_at IS NULL)
        )
    WHERE offers.ended_at IS NULL
    GROUP BY offers.node_id, offers.unit, offers.model, nodes.id
"""
# A node that is lost ends its intervals when it was last seen, as its attempts end.
_END = text(
    f"""
    UPDATE supply_intervals AS held SET until_at = greatest(
        held.from_at, CASE WHEN node.state = 'online' THEN :now ELSE least(node.last_seen_at, :now) END
    )
    FROM nodes AS node
    WHERE held.until_at IS NULL AND node.id = held.node_id AND NOT EXISTS (
        SELECT FROM ({_OFFERED}) AS offered
        WHERE offered.node_id = held.node_id AND offered.unit = held.unit AND offered.model = held.model
            AND offered.quantity_milli = held.quantity_milli AND offered.simulated = held.simulated
    )
    """  # noqa: S608 - made of constants
)
_BEGIN = text(
    f"""
    INSERT INTO supply_intervals (node_id, unit, model, from_at, provider_id, simulated, quantity_milli)
    SELECT node_id, unit, model, :now, provider_id, simulated, quantity_milli FROM ({_OFFERED}) AS offered
    WHERE quantity_milli > 0
    ON CONFLICT DO NOTHING
    """  # noqa: S608 - made of constants
)


def follow(session: Session, now: datetime) -> None:
    """Bring the open intervals in line with what is offered now; before the first sweep there is nothing to follow."""
    pulse = session.get(SweepPulse, 1, with_for_update={"key_share": True}, populate_existing=True)
    if pulse is None:
        return
    if pulse.supply_at is not None and now - pulse.supply_at > PAUSE_MAX:
        _end_all(session, pulse.supply_at)
    pulse.supply_at = now
    session.flush()
    session.execute(_END, {"now": now})
    session.execute(_BEGIN, {"now": now})


def _end_all(session: Session, at: datetime) -> None:
    session.execute(update(SupplyInterval).where(SupplyInterval.until_at.is_(None)).values(until_at=at))
