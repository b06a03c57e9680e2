"""A node as its provider sees it: what it has, what it asks, and what stands against it."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from market.customer_api import ComponentPricesView, Money
from market.provider_api import AskView, ConditionView, GpuView, MinuteView, NodeView
from scheduler.supply import health, offers
from scheduler.supply.health import StandingCondition
from scheduler.tables import Gpu, GpuMinute, Node, Offer


def node_views(session: Session, own: Sequence[Node]) -> list[NodeView]:
    """These nodes, with their devices, offers and conditions."""
    ids = [node.id for node in own]
    gpus, conditions = health.gpus_of(session, ids), health.of_nodes(session, ids)
    return [_node_view(node, gpus[node.id], conditions[node.id], offers.of_node(session, node.id)) for node in own]


def condition_view(condition: StandingCondition) -> ConditionView:
    """The part of it that is about the condition."""
    return ConditionView(
        gpu_uuid=condition.gpu_uuid,
        code=condition.code,
        quarantines=condition.quarantines,
        reason=condition.reason,
        remedy=condition.remedy,
        detail=condition.detail,
        began_at=condition.began_at,
    )


def minute_view(gpu_uuid: str, minute: GpuMinute) -> MinuteView:
    return MinuteView(
        gpu_uuid=gpu_uuid,
        minute_at=minute.minute_at,
        samples=minute.samples,
        throttled_samples=minute.throttled_samples,
        busy_percent=minute.busy_percent,
        memory_used_mib=minute.memory_used_mib,
        temperature_c=minute.temperature_c,
        power_milliwatts=minute.power_milliwatts,
        sm_clock_mhz=minute.sm_clock_mhz,
        energy_millijoules=minute.energy_millijoules,
    )


def _gpu_view(gpu: Gpu) -> GpuView:
    return GpuView(
        uuid=gpu.uuid,
        index=gpu.index,
        model=gpu.model,
        memory_bytes=gpu.memory_bytes,
        present=gpu.present,
        quarantined=gpu.quarantined,
        mended_at=gpu.mended_at,
        compute_capability=gpu.compute_capability,
        pci_bus_id=gpu.pci_bus_id,
        power_limit_milliwatts=gpu.power_limit_milliwatts,
        ecc=gpu.ecc,
        nvlinks=gpu.nvlinks,
    )


def _node_view(
    node: Node, gpus: Sequence[Gpu], conditions: Sequence[StandingCondition], asked: Sequence[Offer]
) -> NodeView:
    return NodeView(
        node_id=node.id,
        name=node.name,
        hostname=node.hostname,
        state=node.state.value,
        pool=node.pool.value,
        simulated=node.simulated,
        sandbox=node.sandbox,
        agent_version=node.agent_version,
        cpu_total_milli=node.cpu_total_milli,
        cpu_free_milli=node.cpu_free_milli,
        memory_total_bytes=node.memory_total_bytes,
        memory_free_bytes=node.memory_free_bytes,
        joined_at=node.joined_at,
        last_seen_at=node.last_seen_at,
        driver_version=node.driver_version,
        cuda_version=node.cuda_version,
        quarantined=node.quarantined,
        gpus=[_gpu_view(gpu) for gpu in gpus],
        conditions=[condition_view(condition) for condition in conditions],
        offers=[
            AskView(
                offer_id=offer.id,
                unit=offer.unit,
                model=offer.model,
                price_per_unit_hour=Money.of(offer.price_microusd_per_unit_hour),
                components=ComponentPricesView.of(offer.components) if any(offer.components) else None,
            )
            for offer in asked
        ],
    )
