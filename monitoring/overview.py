"""The market at a glance: nodes, leases, jobs, money and what is stuck, by a few statements over whole tables."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from billing.ledger import audit
from billing.ledger.accounts import TREASURY
from billing.tables.bills import EpochRow, UsageLineRow
from billing.tables.ledger import AccountRow, EntryRow
from infra.outbox.tables import Delivery
from market.customer_api import Money
from market.states import JobState
from scheduler.tables import Job, NodeState

BROKEN_SHOWN_MAX = 50

# Capacity of nodes that are online; what is leased counts wherever it is, because a lost node's leases are still held.
_SUPPLY = text(
    """
    SELECT
        (SELECT count(*) FROM gpus JOIN nodes ON nodes.id = gpus.node_id
            WHERE gpus.present AND nodes.state = 'online' AND NOT nodes.simulated) AS gpus_total,
        (SELECT count(DISTINCT lease_gpus.gpu_id) FROM lease_gpus JOIN gpus ON gpus.id = lease_gpus.gpu_id
            JOIN nodes ON nodes.id = gpus.node_id
            WHERE lease_gpus.released_at IS NULL AND NOT nodes.simulated) AS gpus_leased,
        (SELECT count(*) FROM gpus JOIN nodes ON nodes.id = gpus.node_id
            WHERE gpus.present AND nodes.state = 'online' AND nodes.simulated) AS simulated_gpus_total,
        (SELECT coalesce(sum(cpu_total_milli), 0)::bigint FROM nodes WHERE state = 'online') AS cpu_total_milli,
        (SELECT coalesce(sum(cpu_milli), 0)::bigint FROM leases WHERE released_at IS NULL) AS cpu_leased_milli,
        (SELECT count(*) FROM leases WHERE released_at IS NULL) AS leases
    """
)


class NodeCounts(BaseModel):
    online: int
    lost: int
    gone: int


class Capacity(BaseModel):
    """Of online nodes; what is leased counts lost nodes too, whose leases are held until they run out."""

    gpus_total: int
    gpus_leased: int
    simulated_gpus_total: int
    cpu_total_milli: int
    cpu_leased_milli: int
    leases: int


class MoneyState(BaseModel):
    """custody: what the treasury holds for others, as the ledger has it. The rest says whose it is."""

    custody: Money
    available: Money
    held: Money
    withdrawing: Money
    payable: Money
    paying: Money
    fees: Money
    rounding: Money
    rent: Money


class LedgerState(BaseModel):
    """imbalance_microusd: what all entries add up to; anything but 0 is a fault. broken: invariants, in words."""

    money: MoneyState
    imbalance_microusd: int
    entries: int
    broken: list[str]


class Overview(BaseModel):
    """queue_depth: funded jobs that wait for a lease; oldest_queued_seconds: how long the first of them has."""

    taken_at: datetime
    nodes: NodeCounts
    capacity: Capacity
    jobs: dict[JobState, int]
    queue_depth: int
    oldest_queued_seconds: float
    money: MoneyState
    ledger_imbalance_microusd: int
    last_epoch: int
    open_epoch_lines: int
    open_epoch: Money
    deliveries_waiting: int
    deliveries_parked: int


def overview(session: Session, now: datetime) -> Overview:
    """Everything of one moment, cheap enough to ask for every few seconds."""
    return Overview(
        taken_at=now,
        nodes=_nodes(session),
        capacity=Capacity.model_validate(dict(session.execute(_SUPPLY).mappings().one())),
        **_jobs(session, now),
        money=_money(session),
        ledger_imbalance_microusd=_balance_sum(session),
        **_epochs(session),
        **_deliveries(session),
    )


def ledger_state(session: Session) -> LedgerState:
    """The ledger's totals, and every invariant asked of the database anew: slower the more there is."""
    entries, total = session.execute(
        select(func.count(), func.coalesce(func.sum(EntryRow.amount_microusd), 0)).select_from(EntryRow)
    ).one()
    return LedgerState(
        money=_money(session),
        imbalance_microusd=int(total),
        entries=entries,
        broken=audit.check(session)[:BROKEN_SHOWN_MAX],
    )


def _nodes(session: Session) -> NodeCounts:
    rows = session.execute(text("SELECT state, count(*) AS count FROM nodes GROUP BY state"))
    counts = {row.state: row.count for row in rows}
    return NodeCounts(**{state.value: counts.get(state.value, 0) for state in NodeState})


def _jobs(session: Session, now: datetime) -> dict[str, Any]:
    rows = session.execute(select(Job.state, func.count().label("count")).group_by(Job.state))
    counts = {row.state: int(row[1]) for row in rows}
    waiting = (Job.state == JobState.QUEUED) & Job.funded_seconds.is_not(None)
    depth, oldest = session.execute(select(func.count(), func.min(Job.created_at)).where(waiting)).one()
    return {
        "jobs": {state: counts.get(state, 0) for state in JobState},
        "queue_depth": depth,
        "oldest_queued_seconds": max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0,
    }


def _money(session: Session) -> MoneyState:
    rows = session.execute(select(AccountRow.kind, func.sum(AccountRow.balance_microusd)).group_by(AccountRow.kind))
    totals = {kind: int(total) for kind, total in rows}
    custody = session.scalar(select(AccountRow.balance_microusd).where(AccountRow.id == TREASURY)) or 0
    others = {name: Money.of(totals.get(name, 0)) for name in MoneyState.model_fields if name != "custody"}
    return MoneyState(custody=Money.of(-custody), **others)


def _balance_sum(session: Session) -> int:
    return int(session.scalar(select(func.coalesce(func.sum(AccountRow.balance_microusd), 0))) or 0)


def _epochs(session: Session) -> dict[str, Any]:
    lines, total = session.execute(
        select(func.count(), func.coalesce(func.sum(UsageLineRow.amount_microusd), 0)).where(
            UsageLineRow.epoch.is_(None)
        )
    ).one()
    last = session.scalar(select(func.coalesce(func.max(EpochRow.number), 0)))
    return {"last_epoch": last, "open_epoch_lines": lines, "open_epoch": Money.of(int(total))}


def _deliveries(session: Session) -> dict[str, int]:
    parked, waiting = session.execute(
        select(
            func.count().filter(Delivery.parked_at.is_not(None)),
            func.count().filter(Delivery.parked_at.is_(None)),
        ).where(Delivery.done_at.is_(None))
    ).one()
    return {"deliveries_waiting": waiting, "deliveries_parked": parked}
