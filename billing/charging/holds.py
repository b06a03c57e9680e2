"""Holds: money moved from available to held, and out of it again exactly once."""

from datetime import datetime

from billing.charging.windows import Funded
from billing.ledger import accounts
from billing.ledger.posting import Transfer
from billing.tables.funding import HoldRow, JobTermsRow
from market.ids import new_id


def open_hold(terms: JobTermsRow, attempt_number: int, window_number: int, funded: Funded, now: datetime) -> HoldRow:
    """The row of a new hold; the caller adds it and posts `opening(hold)` with it."""
    return HoldRow(
        id=new_id("hold"),
        job_id=terms.job_id,
        organization_id=terms.organization_id,
        attempt_number=attempt_number,
        window_number=window_number,
        seconds=funded.seconds,
        amount_microusd=funded.amount_microusd,
        created_at=now,
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


def _between(key: str, hold: HoldRow, to_available: int) -> Transfer:
    owner = hold.organization_id
    return Transfer(key, {accounts.available(owner): to_available, accounts.held(owner): -to_available})
