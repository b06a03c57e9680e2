"""Watching allowances: asks the chain for offered approvals, and what is in the accounts that may be pulled from."""

from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from billing.chains.port import TOKEN_ACCOUNTS_MAX, Chain, ChainError
from billing.settling import allowances, pulls
from billing.settling.approvals import Approval, approval_in
from billing.tables.allowances import AllowanceRow
from billing.treasury.custody import Custody
from infra.database import Database
from infra.settings import Settings, settings
from market.clock import Clock
from market.errors import InvalidInput

log = structlog.get_logger(__name__)
APPROVALS_MAX = 20
OFFERED_FOR = timedelta(minutes=15)
"""An approval that is not final by then never will be: its blockhash is long over."""
READ_AGAIN = timedelta(seconds=5)
READ_ANYWAY = timedelta(minutes=5)
"""How often an account is read that nothing is wanted of, so that its owner sees what the market sees."""


def watch(database: Database, chain: Chain, custody: Custody, clock: Clock, config: Settings | None = None) -> None:
    """One look. An RPC that is away costs only time; what is offered keeps nobody waiting whose allowance is active."""
    config = config or settings()
    for step in (partial(_read, config=config), partial(_prove, custody=custody)):
        try:
            step(database, chain, clock)
        except ChainError as error:
            log.warning("allowance_watch_waits", error=str(error))


def _prove(database: Database, chain: Chain, clock: Clock, custody: Custody) -> None:
    with database.read() as session:
        offered = session.scalars(
            select(AllowanceRow)
            .where(AllowanceRow.state == "waiting", AllowanceRow.next_look_at <= clock.now())
            .order_by(AllowanceRow.next_look_at)
            .limit(APPROVALS_MAX)
        ).all()
    for row in offered:
        assert row.approval is not None and row.offered_at is not None
        approval, holding, failure = None, None, None
        try:
            approval = _approval(chain, row)
            (holding,) = chain.holdings([approval.token_account]) if approval is not None else (None,)
        except InvalidInput as fault:
            with database.transaction() as session:
                allowances.refuse(session, row.id, row.approval, fault.detail)
            continue
        except ChainError as error:
            failure = error
        with database.transaction() as session:
            if approval is not None and holding is not None:
                allowances.prove(session, row.id, row.approval, approval, holding, custody=custody, now=clock.now())
            elif clock.now() - row.offered_at > OFFERED_FOR:
                allowances.refuse(session, row.id, row.approval, "the chain has no such transaction: approve again")
            else:
                allowances.wait(session, row.id, clock.now())
        if failure is not None:
            # Each that is asked for may take as long; the others come first next time.
            raise failure


def _approval(chain: Chain, row: AllowanceRow) -> Approval | None:
    """None while it is not certain. Raises InvalidInput for what approves nothing here."""
    assert row.approval is not None
    if chain.finalized_status(row.approval) is None:
        return None
    transaction = chain.read_transaction(row.approval)
    if transaction is None:
        return None
    return approval_in(transaction, allowance_id=row.id, delegate=row.delegate)


def _read(database: Database, chain: Chain, clock: Clock, config: Settings) -> None:
    with database.read() as session:
        due = _due(session, clock.now())
    found = chain.holdings([account for _, account in due])
    readings = [(allowance_id, holding) for (allowance_id, _), holding in zip(due, found, strict=True)]
    if readings:
        with database.transaction() as session:
            allowances.noted(session, readings, clock.now(), READ_AGAIN, config)


def _due(session: Session, now: datetime) -> list[tuple[str, str]]:
    """Allowances to read, and their token accounts: those that something is wanted of, and each now and then."""
    wanted = select(pulls.wanting(now).subquery().c.id)
    rows = session.execute(
        select(AllowanceRow.id, AllowanceRow.token_account)
        .where(
            AllowanceRow.state == "active",
            AllowanceRow.next_look_at <= now,
            or_(AllowanceRow.id.in_(wanted), AllowanceRow.read_at.is_(None), AllowanceRow.read_at <= now - READ_ANYWAY),
        )
        .order_by(AllowanceRow.next_look_at, AllowanceRow.id)
        .limit(TOKEN_ACCOUNTS_MAX)
    )
    return [(row.id, row.token_account) for row in rows]
