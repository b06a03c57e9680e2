"""Providers: the parties that earn."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from market.errors import NotFound
from market.ids import new_id
from scheduler.tables import Provider


def create(session: Session, name: str, now: datetime, wallet_address: str | None = None) -> Provider:
    """A new provider."""
    provider = Provider(id=new_id("prv"), name=name, wallet_address=wallet_address, created_at=now)
    session.add(provider)
    session.flush()
    return provider


def get(session: Session, provider_id: str) -> Provider:
    """Raises NotFound."""
    provider = session.get(Provider, provider_id)
    if provider is None:
        raise NotFound(f"there is no provider {provider_id}")
    return provider


def set_wallet(session: Session, provider_id: str, wallet_address: str | None) -> Provider:
    """Where payouts go from now on. Raises NotFound."""
    provider = session.scalar(select(Provider).where(Provider.id == provider_id).with_for_update())
    if provider is None:
        raise NotFound(f"there is no provider {provider_id}")
    provider.wallet_address = wallet_address
    return provider
