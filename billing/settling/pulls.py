"""Pulls: while an organization's balance is short, a bounded amount out of its allowance, once, before it is needed.

The money is the organization's only when the chain has finalized it: nothing is ever lent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session

from billing.charging import upcoming
from billing.ledger import accounts, posting
from billing.settling.payout_terms import DAY
from billing.tables.allowances import AllowanceRow, PullRow
from billing.tables.ledger import AccountRow
from billing.tables.metering import MeteredLeaseRow
from billing.tables.settlement import SettlementBatchRow, SigningRow
from billing.treasury.custody import Custody
from infra.outbox import wake
from infra.settings import Settings
from infra.wakeups import after_commit
from market.ids import new_id

OPENED_MAX = 50
FRESH = timedelta(seconds=30)
"""An older reading of the chain opens no pull."""
REFUSED_PAUSE = timedelta(minutes=1)
NOTHING_PAUSE = timedelta(seconds=10)
"""Who is given nothing now (nothing is short yet, or a cap is reached) makes room for those behind it."""
IDLE_MAX = timedelta(minutes=10)
"""A pull that could not even be signed in that time is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Need:
    """What an organization has and will want, in micro-USDC. room: what its caps leave today."""

    available_microusd: int
    keep_microusd: int
    upcoming_microusd: int
    pullable_microusd: int
    room_microusd: int


def amount_due(need: Need, least_microusd: int, most_microusd: int) -> int:
    """What is to be pulled now: what is short, or the least there is; 0 if nothing is to be, or can be."""
    short = need.keep_microusd + need.upcoming_microusd - need.available_microusd
    if short <= 0:
        return 0
    amount = min(max(short, least_microusd), most_microusd, need.pullable_microusd, need.room_microusd)
    return amount if amount >= least_microusd else 0


def wanting(now: datetime) -> Select[AllowanceRow, int]:
    """Active allowances whose organization is short and has no pull on its way, and what is available to it."""
    balance = func.coalesce(AccountRow.balance_microusd, 0)
    windows = exists().where(
        MeteredLeaseRow.organization_id == AllowanceRow.organization_id,
        upcoming.is_due(now),
    )
    on_its_way = exists().where(PullRow.organization_id == AllowanceRow.organization_id, PullRow.state == "open")
    return (
        select(AllowanceRow, balance)
        .outerjoin(AccountRow, AccountRow.id == func.concat("org:", AllowanceRow.organization_id, ":available"))
        .where(
            AllowanceRow.state == "active",
            or_(AllowanceRow.retry_at.is_(None), AllowanceRow.retry_at <= now),
            or_(balance < AllowanceRow.keep_microusd, windows),
            ~on_its_way,
        )
    )


def open_due(session: Session, custody: Custody, now: datetime, config: Settings) -> int:
    """Open a pull for each organization that is short, by what was read of its account lately; returns how many."""
    ready = and_(
        AllowanceRow.read_at > now - FRESH,
        AllowanceRow.delegate == custody.address,
        AllowanceRow.mint == custody.mint,
        func.least(AllowanceRow.delegated_microusd, AllowanceRow.balance_microusd)
        >= config.allowance_pull_min_microusd,
    )
    query = wanting(now).where(ready).order_by(AllowanceRow.read_at, AllowanceRow.id).limit(OPENED_MAX)
    rows = session.execute(query.with_for_update(of=AllowanceRow, skip_locked=True)).all()
    owners = [row.organization_id for row, _ in rows]
    windows = upcoming.amounts(session, owners, now, config) if owners else {}
    opened = []
    for row, available in rows:
        most = config.allowance_daily_max_microusd
        daily = most if row.daily_max_microusd is None else min(row.daily_max_microusd, most)
        need = Need(
            available_microusd=available,
            keep_microusd=row.keep_microusd,
            upcoming_microusd=windows.get(row.organization_id, 0),
            pullable_microusd=min(row.delegated_microusd, row.balance_microusd),
            room_microusd=daily - pulled_lately(session, row.organization_id, now),
        )
        amount = amount_due(need, config.allowance_pull_min_microusd, config.allowance_pull_max_microusd)
        if amount:
            opened.append(_pull(row, amount, now))
        else:
            row.retry_at = now + NOTHING_PAUSE
    session.add_all(opened)
    session.flush()
    return len(opened)


def pulled_lately(session: Session, organization_id: str, now: datetime) -> int:
    """The micro-USDC of an organization's pulls of the last 24 hours that were not returned."""
    total = select(func.coalesce(func.sum(PullRow.amount_microusd), 0)).where(
        PullRow.organization_id == organization_id, PullRow.created_at > now - DAY, PullRow.state != "returned"
    )
    return int(session.scalars(total).one())


def waiting(session: Session, limit: int) -> Sequence[PullRow]:
    """Those that are in no batch yet, oldest first."""
    query = select(PullRow).where(PullRow.state == "open", PullRow.batch_id.is_(None))
    return session.scalars(query.order_by(PullRow.id).limit(limit)).all()


def drop_idle(session: Session, now: datetime) -> None:
    """Give up what nothing is signed for and nobody wants any more: its allowance has ended, or it is too old.

    Only the one sender may: nobody else signs meanwhile.
    """
    signed = exists().where(SigningRow.batch_id == PullRow.batch_id, SigningRow.outcome.is_(None))
    ended: ColumnElement[bool] = AllowanceRow.state != "active"
    rows = session.execute(
        select(PullRow, AllowanceRow.state)
        .join(AllowanceRow, AllowanceRow.id == PullRow.allowance_id)
        .where(PullRow.state == "open", ~signed, or_(ended, PullRow.created_at < now - IDLE_MAX))
        .order_by(PullRow.id)
        .limit(OPENED_MAX)
    ).all()
    for pull, state in rows:
        if pull.batch_id is not None:
            # Whoever signs holds the batch: under its lock it is certain that nothing is signed.
            batch = session.get_one(SettlementBatchRow, pull.batch_id, with_for_update=True, populate_existing=True)
            if session.scalar(select(exists().where(SigningRow.batch_id == batch.id, SigningRow.outcome.is_(None)))):
                continue
            batch.done_at = now
        give_back(session, pull, "the allowance has ended" if state != "active" else "it was not sent in time", now)
    session.flush()


def confirm(session: Session, pull: PullRow, now: datetime) -> posting.Transfer:
    """The chain has finalized it: custody has the money, and the organization can spend it."""
    pull.state, pull.ended_at = "confirmed", now
    allowance = session.get_one(AllowanceRow, pull.allowance_id, with_for_update=True, populate_existing=True)
    if allowance.state == "active":
        # What was read of the account before is over.
        allowance.read_at, allowance.next_look_at = None, now
    wake(session, "billing.fund_windows")
    after_commit(session, f"organization:{pull.organization_id}")
    entries = {
        accounts.TREASURY: -pull.amount_microusd,
        accounts.available(pull.organization_id): pull.amount_microusd,
    }
    return posting.Transfer(f"pull:{pull.id}", entries)


def give_back(session: Session, pull: PullRow, detail: str, now: datetime) -> None:
    """Nothing was taken and nothing will be; another is tried after a pause."""
    pull.state, pull.ended_at, pull.detail = "returned", now, detail
    allowance = session.get_one(AllowanceRow, pull.allowance_id, with_for_update=True, populate_existing=True)
    if allowance.state == "active":
        allowance.retry_at, allowance.detail = now + REFUSED_PAUSE, detail
    session.flush()


def _pull(row: AllowanceRow, amount_microusd: int, now: datetime) -> PullRow:
    assert row.token_account is not None
    return PullRow(
        id=new_id("pull"),
        allowance_id=row.id,
        organization_id=row.organization_id,
        token_account=row.token_account,
        amount_microusd=amount_microusd,
        created_at=now,
    )
