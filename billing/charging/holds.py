"""Holds: money moved from available to held, and out of it again exactly once."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from billing.charging.windows import Funded
from billing.ledger import accounts, posting
from billing.ledger.posting import Transfer
from billing.tables.funding import HoldRow, JobTermsRow
from market.ids import new_id


def open_hold(
    terms: JobTermsRow,
    attempt_number: int,
    window_number: int,
    funded: Funded,
    now: datetime,
    budgets: list[str] | None = None,
    starts_at: datetime | None = None,
) -> HoldRow:
    """The row of a new hold; the caller adds it and posts `opening(hold)` with it. budgets: those it counts in.

    starts_at: when its window begins, if not at once.
    """
    return HoldRow(
        id=new_id("hold"),
        job_id=terms.job_id,
        organization_id=terms.organization_id,
        attempt_number=attempt_number,
        window_number=window_number,
        seconds=funded.seconds,
        amount_microusd=funded.amount_microusd,
        created_at=now,
        starts_at=starts_at,
        budgets=budgets,
    )


def opening(hold: HoldRow) -> Transfer:
    """available → held."""
    return _between(f"hold:{hold.id}", hold, -hold.amount_microusd)


def trim(hold: HoldRow, amount_microusd: int) -> Transfer:
    """Shrink an open hold to what its window can cost at the price that was found; give the rest back."""
    excess = max(0, hold.amount_microusd - amount_microusd)
    hold.amount_microusd -= excess
    return _between(f"trim:{hold.id}", hold, excess)


def settle(hold: HoldRow, captured_microusd: int, now: datetime) -> Transfer:
    """Settle it: what is not captured goes back. The caller posts this, and the capture itself."""
    hold.captured_microusd = captured_microusd
    hold.settled_at = now
    return _between(f"release:{hold.id}", hold, hold.amount_microusd - captured_microusd)


def locked_first(session: Session, changed: Iterable[HoldRow], transfers: Sequence[Transfer]) -> Iterable[str]:
    """Lock the accounts of these transfers now if one of the changed holds counts in a budget; which were locked.

    Whoever funds a window locks them before it counts. The change of a hold counts when it is written, which is before
    the transfers are posted.
    """
    if not any(hold.budgets for hold in changed):
        return ()
    return posting.lock(session, {account_id for transfer in transfers for account_id in transfer.entries})


def _between(key: str, hold: HoldRow, to_available: int) -> Transfer:
    owner = hold.organization_id
    return Transfer(key, {accounts.available(owner): to_available, accounts.held(owner): -to_available})
