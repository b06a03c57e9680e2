"""Providers: the parties that earn."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.outbox import publish
from market.errors import NotFound
from market.ids import new_id
from market.messages import WalletChanged
from scheduler.tables import Provider


def create(session: Session, name: str, now: datetime, wallet_address: str | None = None) -> Provider:
    """A new provider."""
    provider = Provider(id=new_id("prv"), name=name, wallet_address=wallet_address, created_at=now)
    session.add(provider)
    session.flush()
    if wallet_address is not None:
        _tell(session, provider)
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
    _tell(session, provider)
    return provider


def set_circuit(session: Session, provider_id: str, circuit_watts: int | None) -> None:
    """What its GPUs may draw at once in a proof; None: all of them at full power. Raises NotFound."""
    get(session, provider_id).circuit_watts = circuit_watts


def _tell(session: Session, provider: Provider) -> None:
    """Billing pays there. The provider's row is locked, so this clock orders its changes."""
    changed_at = session.scalars(select(func.clock_timestamp())).one()
    publish(
        session,
        WalletChanged(provider_id=provider.id, wallet_address=provider.wallet_address, changed_at=changed_at),
    )
