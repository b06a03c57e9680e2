"""Wallets: where each provider is paid, as it last said, when, and why not now."""

from datetime import datetime, timedelta

from solders.pubkey import Pubkey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.tables.settlement import PayoutWalletRow
from infra.settings import Settings, settings
from market.errors import FieldError, InvalidInput


def set_wallet(
    session: Session, provider_id: str, address: str | None, changed_at: datetime, config: Settings | None = None
) -> None:
    """The newest wish wins, in whatever order they come. Raises InvalidInput for what is no Solana address.

    A first address is paid at once, another one after the cool-down: time for its owner to see a theft, and to go
    back to the address before, which is paid at once again. A wish lifts a hold.
    """
    if address is not None:
        require_address(address)
    first = insert(PayoutWalletRow).values(
        provider_id=provider_id, address=address, changed_at=changed_at, payable_from=changed_at
    )
    added = session.scalars(first.on_conflict_do_nothing().returning(PayoutWalletRow.provider_id)).one_or_none()
    row = session.get_one(PayoutWalletRow, provider_id, with_for_update=True, populate_existing=True)
    if added is not None or row.changed_at >= changed_at:
        return
    if row.address is not None and row.payable_from is not None and row.payable_from <= changed_at:
        row.settled_address = row.address
    known = row.settled_address is None or address == row.settled_address
    cooldown = timedelta(seconds=(config or settings()).wallet_cooldown_seconds)
    row.address, row.changed_at = address, changed_at
    row.payable_from = changed_at if known else changed_at + cooldown
    row.account_missing, row.held_at, row.held_reason = False, None, ""
    session.flush()


def set_terms(
    session: Session, provider_id: str, threshold_microusd: int | None, every_seconds: int | None, now: datetime
) -> None:
    """From how much on and how often this provider is paid; None: as the market has it."""
    terms = {"threshold_microusd": threshold_microusd, "every_seconds": every_seconds}
    # Before every real wish: the terms alone say nothing of an address.
    never = now - timedelta(days=36_500)
    row = insert(PayoutWalletRow).values(provider_id=provider_id, changed_at=never, payable_from=never, **terms)
    session.execute(row.on_conflict_do_update(index_elements=["provider_id"], set_=terms))


def hold(session: Session, provider_id: str, address: str, reason: str, now: datetime) -> None:
    """Open no payout to this address for a while: the chain refuses it."""
    row = session.get_one(PayoutWalletRow, provider_id, with_for_update=True, populate_existing=True)
    if row.address == address:
        row.held_at, row.held_reason = now, reason
        session.flush()


def require_address(address: str) -> None:
    """Raises InvalidInput for what is no Solana address (32 bytes, base58)."""
    try:
        Pubkey.from_string(address)
    except ValueError:
        detail = f"{address[:60]!r} is not a Solana address: it is 32 to 44 characters of base58"
        raise InvalidInput(detail, errors=[FieldError("/wallet_address", detail)]) from None


def can_own_accounts(address: str) -> bool:
    """Whether it is a key's address. Tokens in an account made for anything else could not be moved by anybody."""
    return Pubkey.from_string(address).is_on_curve()
