"""Wallets: where each provider is paid, as it last said."""

from datetime import datetime

from solders.pubkey import Pubkey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.tables.settlement import PayoutWalletRow
from market.errors import FieldError, InvalidInput


def set_wallet(session: Session, provider_id: str, address: str | None, changed_at: datetime) -> None:
    """The newest wish wins, in whatever order they come. Raises InvalidInput for what is no Solana address."""
    if address is not None:
        require_address(address)
    row = insert(PayoutWalletRow).values(provider_id=provider_id, address=address, changed_at=changed_at)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["provider_id"],
            set_={"address": row.excluded.address, "changed_at": row.excluded.changed_at},
            where=PayoutWalletRow.changed_at < row.excluded.changed_at,
        )
    )


def require_address(address: str) -> None:
    """Raises InvalidInput for what is no Solana address (32 bytes, base58)."""
    try:
        Pubkey.from_string(address)
    except ValueError:
        detail = f"{address[:60]!r} is not a Solana address: it is 32 to 44 characters of base58"
        raise InvalidInput(detail, errors=[FieldError("/wallet_address", detail)]) from None
