"""Allowances: which token account of a customer's the market may pull from, by whose word, and how much is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from solders.signature import Signature
from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.chains.port import Holding
from billing.settling.approvals import Approval, memo_of
from billing.tables.allowances import AllowanceRow, PullRow
from billing.tables.settlement import SigningRow
from billing.treasury.custody import Custody
from infra.settings import Settings
from infra.wakeups import after_commit
from market.errors import Conflict, FieldError, InvalidInput, NotFound
from market.ids import new_id
from market.money import format_usdc

LISTED_MAX = 1_000
DETAIL_MAX_CHARACTERS = 500
LOOK_SOONEST, LOOK_LATEST, AGE_SHARE = timedelta(seconds=1), timedelta(minutes=5), 10
"""An offered approval is looked at again after a tenth of its age."""
APPROVE_REMEDY = "gridbay allowance approve AMOUNT"


@dataclass(frozen=True, slots=True)
class Allowance:
    """state: `waiting` for an approval that carries the memo, or `active`; detail: why nothing can be pulled now.

    delegated, balance_microusd: of the chain, as they were at read_at; pullable_microusd: the lesser of the two.
    """

    allowance_id: str
    state: str
    delegate: str
    mint: str
    memo: str
    keep_microusd: int
    daily_max_microusd: int
    token_account: str | None
    owner: str | None
    detail: str
    delegated_microusd: int
    balance_microusd: int
    read_at: datetime | None

    @property
    def pullable_microusd(self) -> int:
        return min(self.delegated_microusd, self.balance_microusd)


@dataclass(frozen=True, slots=True)
class Pull:
    """state: `open`, `confirmed` (available since) or `returned` (nothing was taken; detail says why)."""

    pull_id: str
    token_account: str
    amount_microusd: int
    state: str
    detail: str
    created_at: datetime
    signature: str | None


def put(
    session: Session,
    organization_id: str,
    keep_microusd: int,
    daily_max_microusd: int | None,
    *,
    custody: Custody,
    now: datetime,
    config: Settings,
) -> Allowance:
    """Ask for an approval, or change the terms of the allowance that there is. Raises InvalidInput."""
    if keep_microusd > config.allowance_pull_max_microusd:
        most = format_usdc(config.allowance_pull_max_microusd)
        raise _wrong("/keep_microusd", f"at most {most} USDC are kept: that much is pulled at once")
    least = config.allowance_pull_min_microusd
    if daily_max_microusd is not None and daily_max_microusd < least:
        raise _wrong("/daily_max_microusd", f"less than {format_usdc(least)} USDC is never pulled")
    row = _live(session, organization_id)
    if row is not None and (row.delegate, row.mint) != (custody.address, custody.mint):
        # The treasury has changed: what was approved is another's.
        _end(row, "the market's treasury has changed", now)
        session.flush()
        row = None
    if row is None:
        made = insert(AllowanceRow).values(
            id=new_id("alw"),
            organization_id=organization_id,
            delegate=custody.address,
            mint=custody.mint,
            keep_microusd=keep_microusd,
            daily_max_microusd=daily_max_microusd,
            created_at=now,
        )
        session.execute(made.on_conflict_do_nothing())
        row = _live(session, organization_id)
        assert row is not None
    row.keep_microusd, row.daily_max_microusd = keep_microusd, daily_max_microusd
    if row.state == "active":
        row.next_look_at = now
    session.flush()
    return _allowance(row, config)


def offer(session: Session, organization_id: str, signature: str, now: datetime, config: Settings) -> Allowance:
    """Note the transaction that proves the account; it is looked at until it is final. Raises NotFound, Conflict."""
    try:
        Signature.from_string(signature)
    except ValueError:
        raise _wrong("/signature", "this is no signature of a Solana transaction") from None
    row = _live(session, organization_id)
    if row is None:
        raise _none()
    if row.state == "active":
        if row.approval == signature:
            return _allowance(row, config)
        raise Conflict(
            f"{row.token_account} is registered already", remedy="end it first for another: gridbay allowance revoke"
        )
    row.approval, row.offered_at, row.next_look_at, row.detail = signature, now, now, ""
    session.flush()
    return _allowance(row, config)


def end(session: Session, organization_id: str, now: datetime) -> None:
    """Nothing more is pulled but what is on its way already; ended before is well."""
    row = _live(session, organization_id)
    if row is not None:
        _end(row, "its organization ended it", now)
        session.flush()


def get(session: Session, organization_id: str, config: Settings) -> Allowance:
    """Raises NotFound."""
    row = session.scalars(_of(organization_id)).one_or_none()
    if row is None:
        raise _none()
    return _allowance(row, config)


def pulls_of(session: Session, organization_id: str) -> list[Pull]:
    """The newest LISTED_MAX of them, newest first."""
    final = (SigningRow.batch_id == PullRow.batch_id) & (SigningRow.outcome == "finalized")
    rows = session.execute(
        select(PullRow, SigningRow.signature)
        .outerjoin(SigningRow, final)
        .where(PullRow.organization_id == organization_id)
        .order_by(PullRow.id.desc())
        .limit(LISTED_MAX)
    )
    return [
        Pull(row.id, row.token_account, row.amount_microusd, row.state, row.detail, row.created_at, signature)
        for row, signature in rows
    ]


def refuse(session: Session, allowance_id: str, signature: str, detail: str) -> None:
    """What was offered proves nothing; another may be."""
    row = _lock(session, allowance_id)
    if row.state == "waiting" and row.approval == signature:
        row.approval, row.detail, row.next_look_at = None, detail[:DETAIL_MAX_CHARACTERS], None
        session.flush()
        after_commit(session, f"organization:{row.organization_id}")


def wait(session: Session, allowance_id: str, now: datetime) -> None:
    """Look again later at what was offered."""
    row = _lock(session, allowance_id)
    if row.state == "waiting" and row.offered_at is not None:
        row.next_look_at = now + min(max((now - row.offered_at) / AGE_SHARE, LOOK_SOONEST), LOOK_LATEST)
        session.flush()


def prove(
    session: Session,
    allowance_id: str,
    signature: str,
    approval: Approval,
    holding: Holding,
    *,
    custody: Custody,
    now: datetime,
) -> None:
    """The approval is final and right: its account is this organization's, unless it is another's already."""
    row = _lock(session, allowance_id)
    if row.state != "waiting" or row.approval != signature:
        return
    taken = select(AllowanceRow.id).where(
        AllowanceRow.token_account == approval.token_account, AllowanceRow.state == "active"
    )
    fault = _fault(row, approval, holding, custody)
    if fault is None and session.scalars(taken).one_or_none() is not None:
        fault = f"{approval.token_account} is registered by another allowance already"
    if fault is not None:
        refuse(session, allowance_id, signature, fault)
        return
    row.state, row.token_account, row.owner = "active", approval.token_account, approval.owner
    row.next_look_at = now
    session.flush()
    after_commit(session, f"organization:{row.organization_id}")


def fault_of(row: AllowanceRow, holding: Holding, least_microusd: int) -> str:
    """Why nothing can be pulled from it as it is, in words; empty if something can."""
    if not holding.owner:
        return f"the token account {row.token_account} is closed"
    if holding.mint != row.mint:
        return f"{row.token_account} holds {holding.mint} and not this market's USDC"
    if holding.frozen:
        return f"the token account {row.token_account} is frozen by the token's issuer"
    if holding.delegate != row.delegate:
        return f"nothing is approved: it was revoked, is used up, or is for somebody else; {APPROVE_REMEDY}"
    if holding.delegated_microusd < least_microusd:
        return f"{format_usdc(holding.delegated_microusd)} USDC are left of what was approved; {APPROVE_REMEDY}"
    if holding.balance_microusd < least_microusd:
        return f"{row.token_account} holds {format_usdc(holding.balance_microusd)} USDC: send some there"
    return ""


def _fault(row: AllowanceRow, approval: Approval, holding: Holding, custody: Custody) -> str | None:
    """Why this account cannot be anybody's allowance."""
    account = approval.token_account
    if account == custody.token_account or approval.owner == custody.address:
        return f"{account} is the market's own treasury"
    if not holding.owner:
        return f"{account} is no token account"
    if holding.mint != row.mint:
        return f"{account} holds {holding.mint}, and not this market's USDC, {row.mint}"
    if holding.owner != approval.owner:
        return f"{account} belongs to {holding.owner} by now, and not to {approval.owner}, who approved"
    return None


def noted(
    session: Session, readings: Sequence[tuple[str, Holding | None]], now: datetime, pause: timedelta, config: Settings
) -> None:
    """What the chain says of active accounts; None: not certain, and asked again. One that has another owner now is
    nobody's any more."""
    found = dict(readings)
    rows = session.scalars(
        select(AllowanceRow)
        .where(AllowanceRow.id.in_(found), AllowanceRow.state == "active")
        .order_by(AllowanceRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for row in rows.all():
        row.next_look_at = now + pause
        holding = found[row.id]
        if holding is None:
            continue
        usable = holding.delegate == row.delegate and holding.mint == row.mint and not holding.frozen
        row.delegated_microusd = holding.delegated_microusd if usable else 0
        row.balance_microusd = holding.balance_microusd if holding.mint == row.mint else 0
        row.detail = fault_of(row, holding, config.allowance_pull_min_microusd)
        row.read_at = now
        if holding.owner and holding.owner != row.owner:
            _end(row, f"{row.token_account} belongs to {holding.owner} now", now)
    session.flush()


def _end(row: AllowanceRow, detail: str, now: datetime) -> None:
    row.state, row.ended_at, row.detail, row.next_look_at = "ended", now, detail, None


def _live(session: Session, organization_id: str) -> AllowanceRow | None:
    query = _of(organization_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one_or_none()


def _of(organization_id: str) -> Select[AllowanceRow]:
    return select(AllowanceRow).where(AllowanceRow.organization_id == organization_id, AllowanceRow.state != "ended")


def _lock(session: Session, allowance_id: str) -> AllowanceRow:
    return session.get_one(AllowanceRow, allowance_id, with_for_update=True, populate_existing=True)


def _none() -> NotFound:
    return NotFound("this organization has no allowance", remedy=APPROVE_REMEDY)


def _wrong(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[FieldError(pointer, detail, "out_of_range")])


def _allowance(row: AllowanceRow, config: Settings) -> Allowance:
    most = config.allowance_daily_max_microusd
    return Allowance(
        allowance_id=row.id,
        state=row.state,
        delegate=row.delegate,
        mint=row.mint,
        memo=memo_of(row.id),
        keep_microusd=row.keep_microusd,
        daily_max_microusd=most if row.daily_max_microusd is None else min(row.daily_max_microusd, most),
        token_account=row.token_account,
        owner=row.owner,
        detail=row.detail,
        delegated_microusd=row.delegated_microusd,
        balance_microusd=row.balance_microusd,
        read_at=row.read_at,
    )
