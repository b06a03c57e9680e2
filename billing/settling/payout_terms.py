"""When and how much a provider is paid: its threshold and schedule, the daily caps. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.settings import Settings

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody with an address and earnings. opened_today_microusd: of its payouts in the last 24 hours.

    payable_from: the end of the address's cool-down; account_missing: held until the earnings pay for the account.
    """

    provider_id: str
    address: str
    payable_microusd: int
    payable_from: datetime | None
    held_at: datetime | None
    account_missing: bool
    threshold_microusd: int | None
    every_seconds: int | None
    last_opened_at: datetime | None
    opened_today_microusd: int


def amount_due(candidate: Candidate, room_microusd: int, now: datetime, config: Settings) -> int:
    """What is to be paid now, 0 for nothing. room_microusd: what the market's daily cap leaves."""
    if not _is_its_time(candidate, now, config):
        return 0
    own_room = config.payout_provider_daily_max_microusd - candidate.opened_today_microusd
    due = min(candidate.payable_microusd, own_room, room_microusd)
    least = max(config.payout_min_microusd, candidate.threshold_microusd or 0)
    # A threshold above the caps would never be reached by what they let through.
    reached = candidate.payable_microusd >= least
    return due if reached and due >= min(least, config.payout_provider_daily_max_microusd) else 0


def _is_its_time(candidate: Candidate, now: datetime, config: Settings) -> bool:
    if candidate.payable_from is not None and candidate.payable_from > now:
        return False
    if candidate.held_at is not None and now < candidate.held_at + timedelta(seconds=config.payout_hold_seconds):
        rent = config.token_account_rent_microusd
        return candidate.account_missing and candidate.payable_microusd >= rent + config.payout_min_microusd
    if candidate.every_seconds is None or candidate.last_opened_at is None:
        return True
    return now >= candidate.last_opened_at + timedelta(seconds=candidate.every_seconds)
