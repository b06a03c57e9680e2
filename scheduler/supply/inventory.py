"""What a node has, as its agent says, written to its rows; what is leased stays leased."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.errors import Conflict, InvalidInput
from market.resources import MIG_UUID, GpuFacts, Inventory, Unit
from scheduler.supply import health
from scheduler.supply.prices import DEFAULT_PRICE_MICROUSD, keep_listed
from scheduler.tables import Gpu, Lease, Node
from scheduler.waking import PLACE
from scheduler.work import leases

SIMULATED_UUID = "SIM-"


def check(inventory: Inventory) -> None:
    """Raises InvalidInput for an inventory that contradicts itself, above all for GPUs that hide they are simulated or
    are slices: a slice is of a model that ends with its profile, so that no offer mixes it with others."""
    uuids = [gpu.uuid for gpu in inventory.gpus]
    if len(set(uuids)) < len(uuids):
        raise InvalidInput("the inventory names a GPU twice: every uuid may appear once")
    for gpu in inventory.gpus:
        if gpu.uuid.startswith(SIMULATED_UUID) != inventory.simulated:
            kind = "simulated" if inventory.simulated else "real"
            raise InvalidInput(f"{gpu.uuid} does not belong on a {kind} node: simulated GPUs, and only they, are SIM-…")
        profiled = gpu.mig_profile is not None and gpu.model.endswith(f" MIG {gpu.mig_profile}")
        if (gpu.uuid.startswith(MIG_UUID), " MIG " in gpu.model, gpu.mig_profile is not None) != (profiled,) * 3:
            raise InvalidInput(
                f"{gpu.uuid} is no slice of a card (MIG): MIG-… has a profile, and it ends the model's name"
            )


def write(session: Session, node: Node, inventory: Inventory, prices: dict[Unit, int | None], now: datetime) -> None:
    """Bring a locked node's rows and offers in line with a checked inventory, and have the next round see it."""
    prices = _follow_simulated(session, node, inventory.simulated, prices)
    node.hostname = inventory.hostname
    node.sandbox = inventory.sandbox
    node.driver_version = inventory.driver_version
    node.cuda_version = inventory.cuda_version
    node.agent_version = inventory.agent_version
    node.cpu_total_milli = inventory.cpu_milli
    node.memory_total_bytes = inventory.memory_bytes
    node.disk_total_bytes = inventory.disk_bytes
    _write_gpus(session, node, inventory.gpus)
    health.quarantine(session, node, now)
    leases.recount(session, {node.id: node})
    keep_listed(session, node, {gpu.model for gpu in inventory.gpus}, prices, now)
    node.revision += 1
    session.flush()
    wake(session, PLACE)


def _follow_simulated(
    session: Session, node: Node, simulated: bool, prices: dict[Unit, int | None]
) -> dict[Unit, int | None]:
    """A node may turn simulated or real only while nothing is leased; a price of 0 does not outlive the simulation."""
    if node.simulated == simulated:
        return prices
    if session.scalar(select(Lease.id).where(Lease.node_id == node.id, Lease.released_at.is_(None)).limit(1)):
        raise Conflict(
            f"node {node.name} has leases: it cannot turn {'simulated' if simulated else 'real'} before they end",
            remedy="wait until its jobs have ended, or join under a new key",
        )
    node.simulated = simulated
    usual = DEFAULT_PRICE_MICROUSD
    return {unit: usual[unit] if price is None else price for unit, price in prices.items()}


def _write_gpus(session: Session, node: Node, facts: list[GpuFacts]) -> None:
    known = {gpu.uuid: gpu for gpu in session.scalars(select(Gpu).where(Gpu.node_id == node.id))}
    for fact in facts:
        gpu = known.pop(fact.uuid, None)
        if gpu is None:
            session.add(Gpu(node_id=node.id, present=True, **fact.model_dump()))
            continue
        gpu.present = True
        for name, value in fact.model_dump().items():
            setattr(gpu, name, value)
    for gone in known.values():
        gone.present = False
    session.flush()
