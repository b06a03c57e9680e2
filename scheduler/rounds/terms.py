"""What providers say of nodes and how reliable these have been, as facts of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.schedules import open_seconds

STEP_SECONDS = 60
"""Offers close and end by whole minutes, so that what is known of them stays true for a while."""
Named = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """By node: fields of its NodeFacts, and of the OfferFacts of its offers, where they are not the usual ones.

    until: when the clock alone makes some of it untrue; None: never.
    """

    of_nodes: Mapping[str, Named]
    of_offers: Mapping[str, Named]
    until: datetime | None


# One row at least, for the clock.
_SAID = Statement(
    """
    SELECT now() AS now, terms.node_id, region, labels, taints, draining, ends_at, open, spot, spot_floor_milli,
        record.node_id AS poor_id, reliability_milli
    FROM node_terms AS terms
    FULL JOIN (SELECT node_id, reliability_milli FROM node_records WHERE reliability_milli < 1000) AS record
        ON record.node_id = terms.node_id
    RIGHT JOIN (SELECT) AS one_row ON true
    """
)


def said(session: Session) -> Said:
    """What is said of nodes now, by the database's clock."""
    rows = _SAID.rows(session, {})
    of_nodes: dict[str, dict[str, Any]] = {}
    of_offers: dict[str, Named] = {}
    ends: list[datetime] = []
    for row in rows:
        now, node_id, region, labels, taints, draining, ends_at, windows, spot, floor_milli, poor_id, reliability = row
        if node_id is not None:
            of_nodes[node_id] = {
                "region": region or "",
                "labels": frozenset(labels),
                "taints": frozenset(taints),
                "drained": draining,
                "spot_floor_milli": floor_milli if spot else None,
            }
            if ends_at is not None or windows:
                left = _left(ends_at, now)
                of_offers[node_id] = {"left_seconds": left, "open_seconds": _open(windows, now)}
                if left and ends_at is not None:
                    ends.append(ends_at - timedelta(seconds=left))
                if windows:
                    ends.append(_next_step(now))
        if poor_id is not None:
            of_nodes.setdefault(poor_id, {})["reliability_milli"] = reliability
    return Said(of_nodes, of_offers, min(ends, default=None))


def _left(ends_at: datetime | None, now: datetime) -> int | None:
    if ends_at is None:
        return None
    return max(int((ends_at - now).total_seconds()), 0) // STEP_SECONDS * STEP_SECONDS


def _open(windows: list[str], now: datetime) -> int | None:
    seconds = open_seconds(windows, now)
    return None if seconds is None else seconds // STEP_SECONDS * STEP_SECONDS


def _next_step(now: datetime) -> datetime:
    """When schedules may say something else: at a whole minute what was closed may open, a second later what is open is
    so for a minute less."""
    second = now.replace(microsecond=0)
    return second + timedelta(seconds=STEP_SECONDS - second.second if second.second else 1)
