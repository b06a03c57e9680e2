"""What nodes ask: a new price is a new row, and touches no lease that runs."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.components import ComponentPrices
from market.errors import InvalidInput, NotFound
from market.ids import new_id
from market.money import COMPONENT_PRICE_MAX_MICROUSD, PRICE_MAX_MICROUSD
from market.resources import Unit
from scheduler.supply.offers import of_node
from scheduler.tables import Node, Offer
from scheduler.tables.offers import CPU_MODEL
from scheduler.waking import PLACE

DEFAULT_PRICE_MICROUSD = {Unit.GPU: 400_000, Unit.CPU: 20_000}
"""What a node asks whose provider did not say: 0.40 USDC for a GPU-hour, 0.02 for a CPU-hour."""


def set_price(
    session: Session,
    provider_id: str,
    node_id: str,
    unit: Unit,
    price_microusd: int,
    now: datetime,
    components: Mapping[str, int] | None = None,
    model: str | None = None,
) -> list[Offer]:
    """Ask that price for the node's GPUs or CPUs from now on; a withdrawn offer stands again.

    components: fields of ComponentPrices; what is not named stays as it was. model: as an offer has it; None: every
    one. The old offer ends and a new one begins; leases keep the price they began with. Raises NotFound, InvalidInput.
    """
    node = _own_node(session, provider_id, node_id)
    changed = components or {}
    _check_price(node, price_microusd)
    _check_components(node, unit, changed)
    latest = [offer for offer in _latest(session, node, unit) if model in (None, offer.model)]
    if not latest:
        raise NotFound(f"node {node_id} has never offered any {model or unit.upper()}")
    for offer in latest:
        if offer.ended_at is None or offer.withdrawn:
            _replace(session, node, offer, price_microusd, offer.components._replace(**changed), now)
    _changed(session, node)
    return of_node(session, node_id)


def withdraw(session: Session, provider_id: str, node_id: str, unit: Unit, now: datetime) -> None:
    """Offer the node's GPUs or CPUs no longer, until a price is set again. Leases that run are not touched."""
    node = _own_node(session, provider_id, node_id)
    for offer in _latest(session, node, unit):
        if offer.ended_at is None:
            offer.ended_at = now
        offer.withdrawn = True
    _changed(session, node)


def keep_listed(
    session: Session, node: Node, gpu_models: set[str], prices: dict[Unit, int | None], now: datetime
) -> None:
    """Make the standing offers of a locked node follow what it has; a price that is given replaces the old one.

    What is there and was never offered is offered; what is gone ends; what its provider withdrew stays withdrawn.
    """
    for unit, models in ((Unit.GPU, gpu_models), (Unit.CPU, {CPU_MODEL})):
        latest = {offer.model: offer for offer in _latest(session, node, unit)}
        asked = prices.get(unit)
        usual = max(latest.values(), key=lambda offer: offer.started_at, default=None)
        fallback = DEFAULT_PRICE_MICROUSD[unit] if usual is None else usual.price_microusd_per_unit_hour
        beside = ComponentPrices() if usual is None else usual.components
        for model in sorted(models):
            offer = latest.get(model)
            if offer is None:
                _begin(session, node, unit, model, fallback if asked is None else asked, beside, now)
            elif asked is not None or (offer.ended_at is not None and not offer.withdrawn) or node.simulated:
                price = offer.price_microusd_per_unit_hour if asked is None else asked
                _replace(session, node, offer, price, offer.components, now)
        for model in sorted(latest.keys() - models):
            latest[model].ended_at = latest[model].ended_at or now


def _own_node(session: Session, provider_id: str, node_id: str) -> Node:
    node = session.scalar(select(Node).where(Node.id == node_id, Node.provider_id == provider_id).with_for_update())
    if node is None:
        raise NotFound(f"there is no node {node_id} of yours")
    return node


def _check_price(node: Node, price_microusd: int) -> None:
    if not 0 <= price_microusd <= PRICE_MAX_MICROUSD:
        raise InvalidInput(f"a price lies between 0 and {PRICE_MAX_MICROUSD} micro-USDC an hour")
    if node.simulated and price_microusd:
        raise InvalidInput("simulated nodes earn nothing: their price is always 0")


def _check_components(node: Node, unit: Unit, prices: Mapping[str, int]) -> None:
    if any(not 0 <= price <= COMPONENT_PRICE_MAX_MICROUSD for price in prices.values()):
        raise InvalidInput(
            f"CPUs, memory and disk are asked for at 0 to {COMPONENT_PRICE_MAX_MICROUSD} micro-USDC an hour"
        )
    if unit is Unit.CPU and prices.get("cpu_microusd_per_hour"):
        raise InvalidInput("the CPUs of an offer of CPUs are its units", remedy="ask for them by its price")
    if node.simulated and any(prices.values()):
        raise InvalidInput("simulated nodes earn nothing: their price is always 0")


def _latest(session: Session, node: Node, unit: Unit) -> list[Offer]:
    """The newest offer of each model that the node ever offered of that unit."""
    newest = (
        select(Offer)
        .where(Offer.node_id == node.id, Offer.unit == unit)
        .ext(distinct_on(Offer.model))
        .order_by(Offer.model, Offer.ended_at.is_(None).desc(), Offer.started_at.desc(), Offer.id.desc())
    )
    return list(session.scalars(newest))


def _begin(
    session: Session,
    node: Node,
    unit: Unit,
    model: str,
    price_microusd: int,
    components: ComponentPrices,
    now: datetime,
) -> None:
    beside = ComponentPrices() if node.simulated else components
    session.add(
        Offer(
            id=new_id("off"),
            provider_id=node.provider_id,
            node_id=node.id,
            unit=unit,
            model=model,
            price_microusd_per_unit_hour=0 if node.simulated else price_microusd,
            **beside._asdict(),
            started_at=now,
        )
    )
    session.flush()


def _replace(
    session: Session, node: Node, offer: Offer, price_microusd: int, components: ComponentPrices, now: datetime
) -> None:
    """End an offer, if it stands, and begin its successor; one that stands at these prices already stays."""
    price = 0 if node.simulated else price_microusd
    beside = ComponentPrices() if node.simulated else components
    if offer.ended_at is None:
        if (offer.price_microusd_per_unit_hour, offer.components) == (price, beside):
            return
        offer.ended_at = now
        session.flush()
    _begin(session, node, offer.unit, offer.model, price, beside, now)


def _changed(session: Session, node: Node) -> None:
    node.revision += 1
    wake(session, PLACE)
