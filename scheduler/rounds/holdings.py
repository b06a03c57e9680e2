"""What organizations hold and are entitled to, read anew every KEPT_FOR and followed in between."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from market.resources import Unit
from scheduler.placement.queue.waiting import Account, Amounts
from scheduler.tables import Gpu, Job, Lease, Node, NodeState, OrganizationShare

KEPT_FOR = timedelta(seconds=2)


@dataclass(slots=True)
class Known:
    """By organization: its account where it is not the usual one, and what it holds."""

    accounts_at: datetime | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    used_at: datetime | None = None
    used: Mapping[str, Amounts] = field(default_factory=dict)


_known = Known()
"""For speed alone; the round's lock lets one thread at it."""


def known(session: Session, now: datetime) -> Known:
    """Accounts and holdings, not older than KEPT_FOR."""
    _accounts(session, now)
    if not _fresh(_known.used_at, now):
        gpu = case((Lease.unit == Unit.GPU, Lease.quantity_milli), else_=0)
        rows = session.execute(
            select(Job.organization_id, func.sum(gpu), func.sum(Lease.cpu_milli), func.sum(Lease.memory_bytes))
            .join(Job, Job.id == Lease.job_id)
            .where(Lease.released_at.is_(None))
            .group_by(Job.organization_id)
        )
        _known.used = {whose: Amounts(*map(int, amounts)) for whose, *amounts in rows}
        _known.used_at = now
    return _known


def follow(used: Mapping[str, Amounts]) -> None:
    """What they hold once a round has been applied."""
    _known.used = used


def forget() -> None:
    """Read everything anew the next time."""
    _known.accounts_at = _known.used_at = None


def any_ceiling(session: Session, organization_ids: Collection[str], now: datetime) -> bool:
    """Whether one of them has a ceiling."""
    accounts = _accounts(session, now)
    return any(accounts[one].ceiling_gpus is not None for one in organization_ids if one in accounts)


def running(session: Session) -> dict[str, list[tuple[int, int]]]:
    """By node, when each lease of GPUs there began and how many it holds."""
    rows = session.execute(
        select(Lease.node_id, Lease.granted_at, Lease.quantity_milli)
        .where(Lease.released_at.is_(None), Lease.unit == Unit.GPU)
        .order_by(Lease.node_id, Lease.granted_at, Lease.id)
    )
    found: dict[str, list[tuple[int, int]]] = {}
    for node_id, granted_at, quantity_milli in rows:
        found.setdefault(node_id, []).append((int(granted_at.timestamp()), quantity_milli // 1000))
    return found


def capacity(session: Session) -> Amounts:
    """All that nodes have which are not gone."""
    nodes = select(
        func.coalesce(func.sum(Node.cpu_total_milli), 0), func.coalesce(func.sum(Node.memory_total_bytes), 0)
    )
    cpu, memory = session.execute(nodes.where(Node.state != NodeState.GONE)).one()
    gpus = session.scalar(select(func.count()).select_from(Gpu).where(Gpu.present)) or 0
    return Amounts(1000 * gpus, int(cpu), int(memory))


def _accounts(session: Session, now: datetime) -> Mapping[str, Account]:
    if not _fresh(_known.accounts_at, now):
        rows = session.scalars(select(OrganizationShare)).all()
        _known.accounts = {
            row.organization_id: Account(row.weight_milli, row.quota_gpus, row.ceiling_gpus) for row in rows
        }
        _known.accounts_at = now
    return _known.accounts


def _fresh(read_at: datetime | None, now: datetime) -> bool:
    return read_at is not None and timedelta(0) <= now - read_at < KEPT_FOR
