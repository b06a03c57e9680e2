"""Deposits: requests to pay the treasury, and crediting what arrived, once per transfer on the chain."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from solders.keypair import Keypair
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.tables.deposits import DepositCreditRow, DepositRow
from billing.treasury import custody
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.outbox import publish, wake
from infra.wakeups import after_commit
from market.error_codes import Kind
from market.errors import MarketError, NotFound
from market.ids import new_id
from market.messages import DepositCredited
from market.money import format_usdc

WAITING_MAX = 50
"""Requests of one organization that nothing has arrived for."""
WATCHED_FOR = timedelta(days=7)
CHECK_SOONEST, CHECK_LATEST = timedelta(seconds=1), timedelta(hours=1)
AGE_SHARE = 10
"""A request is looked at again after a tenth of its age: at once while someone waits, seldom when nobody does."""


class TooManyDeposits(MarketError):
    kind, code = Kind.TOO_MANY, "too_many_deposits"


@dataclass(frozen=True, slots=True)
class Deposit:
    """state: `waiting`, `credited` or `lapsed`; credited_microusd: what arrived, whatever was asked for.

    arriving_microusd: what was seen on the chain and is not final.
    """

    deposit_id: str
    organization_id: str
    amount_microusd: int
    state: str
    recipient: str
    mint: str
    reference: str
    memo: str
    solana_pay_url: str
    credited_microusd: int
    signature: str | None
    arriving_microusd: int = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """A request to look for on the chain. credited: signatures that need no second look."""

    deposit_id: str
    recipient: str
    mint: str
    reference: str
    credited: frozenset[str]


def request(
    session: Session,
    organization_id: str,
    amount_microusd: int,
    now: datetime,
    to: Custody | None = None,
    *,
    bounded: bool = True,
) -> Deposit:
    """Announce a deposit; whoever pays by it is credited to the organization. Raises TooManyDeposits if bounded."""
    to = to or custody.custody()
    waiting = select(func.count()).where(DepositRow.organization_id == organization_id, DepositRow.state == "waiting")
    if bounded and session.scalars(waiting).one() >= WAITING_MAX:
        raise TooManyDeposits(
            f"{WAITING_MAX} deposits of this organization are waiting to be paid",
            remedy=f"pay one of them; one that nobody pays lapses after {WATCHED_FOR.days} days",
        )
    deposit_id = new_id("dep")
    row = DepositRow(
        id=deposit_id,
        organization_id=organization_id,
        amount_microusd=amount_microusd,
        recipient=to.address,
        mint=to.mint,
        # Nobody has the key of it: it only marks the transfer, so that the chain finds it again.
        reference=str(Keypair().pubkey()),
        memo=f"gridbay/deposit/v1 {deposit_id}",
        state="waiting",
        created_at=now,
        next_check_at=now,
    )
    session.add(row)
    session.flush()
    return _deposit(row, [])


def get(session: Session, organization_id: str, deposit_id: str) -> Deposit:
    """Raises NotFound, also for a deposit of somebody else."""
    row = session.get(DepositRow, deposit_id)
    if row is None or row.organization_id != organization_id:
        raise NotFound(f"there is no deposit {deposit_id}")
    return _deposit(row, _credits(session, [deposit_id]))


def due(session: Session, now: datetime, limit: int) -> list[Watched]:
    """Requests whose turn it is to be looked for, credited ones too: a link may be paid twice."""
    rows = session.scalars(
        select(DepositRow).where(DepositRow.next_check_at <= now).order_by(DepositRow.next_check_at).limit(limit)
    ).all()
    known: dict[str, set[str]] = {}
    for credit in _credits(session, [row.id for row in rows]):
        known.setdefault(credit.deposit_id, set()).add(credit.signature)
    return [Watched(row.id, row.recipient, row.mint, row.reference, frozenset(known.get(row.id, ()))) for row in rows]


def credit(
    session: Session,
    deposit_id: str,
    arrivals: Sequence[Arrival],
    now: datetime,
    arriving: Sequence[Arrival] = (),
) -> int:
    """Credit what is new of these and set the next look; returns the micro-USDC credited.

    arriving: what was seen besides and is not final, which is shown and no more.
    """
    row = session.get_one(DepositRow, deposit_id, with_for_update=True, populate_existing=True)
    fresh = [arrival for arrival in arrivals if _is_new(session, deposit_id, arrival, now)]
    total = sum(arrival.amount_microusd for arrival in fresh)
    age = now - row.created_at
    if total:
        row.state = "credited"
        publish(session, DepositCredited(organization_id=row.organization_id, amount_microusd=total))
        wake(session, "billing.fund_windows")
        after_commit(session, f"organization:{row.organization_id}")
    elif row.state == "waiting" and age > WATCHED_FOR:
        row.state = "lapsed"
    row.arriving_microusd = _still_arriving(session, arriving) if age <= WATCHED_FOR else 0
    pause = min(max(age / AGE_SHARE, CHECK_SOONEST), CHECK_LATEST) if not row.arriving_microusd else CHECK_SOONEST
    row.next_check_at = None if age > WATCHED_FOR else now + pause
    session.flush()
    to = accounts.available(row.organization_id)
    posting.post(session, [_transfer(arrival, to) for arrival in fresh])
    return total


def _still_arriving(session: Session, arriving: Sequence[Arrival]) -> int:
    """What of it nobody has credited meanwhile."""
    if not arriving:
        return 0
    signatures = {arrival.signature for arrival in arriving}
    credited = set(
        session.scalars(select(DepositCreditRow.signature).where(DepositCreditRow.signature.in_(signatures)))
    )
    return sum(arrival.amount_microusd for arrival in arriving if arrival.signature not in credited)


def _is_new(session: Session, deposit_id: str, arrival: Arrival, now: datetime) -> bool:
    """The primary key decides, whoever else credits it now."""
    row = insert(DepositCreditRow).values(
        signature=arrival.signature,
        instruction=arrival.instruction,
        deposit_id=deposit_id,
        amount_microusd=arrival.amount_microusd,
        credited_at=now,
    )
    added = session.scalars(row.on_conflict_do_nothing().returning(DepositCreditRow.signature))
    return added.one_or_none() is not None


def _transfer(arrival: Arrival, to: str) -> posting.Transfer:
    key = f"deposit:{arrival.signature}:{arrival.instruction}"
    return posting.Transfer(key, {accounts.TREASURY: -arrival.amount_microusd, to: arrival.amount_microusd})


def _credits(session: Session, deposit_ids: Sequence[str]) -> Sequence[DepositCreditRow]:
    return session.scalars(
        select(DepositCreditRow)
        .where(DepositCreditRow.deposit_id.in_(deposit_ids))
        .order_by(DepositCreditRow.credited_at, DepositCreditRow.signature, DepositCreditRow.instruction)
    ).all()


def _deposit(row: DepositRow, credits: Sequence[DepositCreditRow]) -> Deposit:
    query = {
        "amount": format_usdc(row.amount_microusd),
        "spl-token": row.mint,
        "reference": row.reference,
        "label": "Gridbay",
        "memo": row.memo,
    }
    return Deposit(
        deposit_id=row.id,
        organization_id=row.organization_id,
        amount_microusd=row.amount_microusd,
        state=row.state,
        recipient=row.recipient,
        mint=row.mint,
        reference=row.reference,
        memo=row.memo,
        solana_pay_url=f"solana:{row.recipient}?{urlencode(query)}",
        credited_microusd=sum(credit.amount_microusd for credit in credits),
        signature=credits[0].signature if credits else None,
        arriving_microusd=row.arriving_microusd,
    )
