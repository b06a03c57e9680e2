"""Markets, and what is asked of them, for the laws of placement; and the rules once more, naively, offer by offer."""

import math
from dataclasses import replace
from fractions import Fraction

from hypothesis import strategies as st

from market.components import ComponentPrices
from market.resources import GpuRequest, Unit, gpu_matches
from scheduler.placement.decisions import Choice, Decision
from scheduler.placement.facts import NodeFacts, OfferFacts, Part
from scheduler.placement.requests import NO_TERMS, Request, Terms, Within
from scheduler.placement.snapshot import Snapshot

MODELS = ("NVIDIA H100", "NVIDIA A10")
ORGANIZATIONS = ("org_a", "org_b")
PROVIDERS = ("prv_a", "prv_b", "prv_c")


def node(node_id: str, provider_id: str = "prv_a", **changes: object) -> NodeFacts:
    """A sound node with 8 CPUs and 64 bytes of memory and disk."""
    sizes = {"cpu_total_milli": 8000, "cpu_free_milli": 8000}
    sizes |= {f"{kind}_{part}_bytes": 64 for kind in ("memory", "disk") for part in ("total", "free")}
    facts = {"name": node_id, "online": True, "pool_ready": True, "simulated": False, **sizes, **changes}
    return NodeFacts(node_id=node_id, provider_id=provider_id, **facts)  # type: ignore[arg-type]


def gpu_offer(node_id: str, gpus: tuple[int, ...], price: int = 100, **changes: object) -> OfferFacts:
    """GPUs of one model, all free."""
    facts = {"model": MODELS[0], "gpu_count": len(gpus), **changes}
    offer_id = f"{node_id}-{facts['model']}"
    return OfferFacts(
        offer_id=offer_id,
        node_id=node_id,
        unit=Unit.GPU,
        memory_bytes=80,
        free_gpus=gpus,
        price_microusd_per_unit_hour=price,
        **facts,  # type: ignore[arg-type]
    )


def request(job_id: str, gpus: int = 0, **changes: object) -> Request:
    """So many GPUs, or a CPU."""
    facts = {
        "unit": Unit.GPU if gpus else Unit.CPU,
        "gpu": GpuRequest(count=gpus) if gpus else None,
        "cpu_milli": 1000,
        "memory_bytes": 1,
        "disk_bytes": 1,
        "price_limit_microusd_per_unit_hour": None,
        "simulated": False,
    }
    return Request(job_id=job_id, **{**facts, **changes})  # type: ignore[arg-type]


rarely = st.sampled_from([False] * 7 + [True])
migs = st.sampled_from([None] * 5 + ["1g.10gb"])
versions = st.sampled_from([(), (8, 0), (9, 0)])
A_BYTE = 2**30
"""The price of a GiB at which a byte costs a micro-USDC an hour."""
beside = st.one_of(
    st.none(),
    st.none(),
    st.builds(ComponentPrices, st.integers(0, 2), st.sampled_from([0, A_BYTE, A_BYTE // 2 * 3]), st.just(0)),
)
words = st.frozensets(st.sampled_from(["a", "b"]), max_size=2)


@st.composite
def nodes(draw: st.DrawFn, index: int) -> NodeFacts:
    """Any node."""
    return node(
        f"node{index}",
        draw(st.sampled_from(PROVIDERS)),
        online=not draw(rarely),
        pool_ready=not draw(rarely),
        simulated=draw(rarely),
        drained=draw(rarely),
        quarantined=draw(rarely),
        cpu_free_milli=draw(st.integers(1, 8)) * 1000,
        memory_free_bytes=draw(st.integers(1, 8)),
        region=draw(st.sampled_from(["", "eu", "us"])),
        tier=draw(st.integers(0, 2)),
        reliability_milli=draw(st.sampled_from([900, 1000])),
        driver=draw(versions),
        cuda=draw(versions),
        network_mbit=draw(st.sampled_from([0, 1000])),
        labels=draw(words),
        taints=draw(st.sampled_from([frozenset[str]()] * 3 + [frozenset({"a"})])),
        groups=draw(st.sampled_from([(), (), (("g", 1),), (("g", 2), ("h", 1))])),
        spot_floor_milli=draw(st.sampled_from([500, 0, 700, 1000, None])),
    )


@st.composite
def markets(draw: st.DrawFn) -> Snapshot:
    """Any market of a few nodes."""
    hosts, offers, key = [], [], 0
    for index in range(draw(st.integers(0, 6))):
        host = draw(nodes(index))
        hosts.append(host)
        for model in sorted(draw(st.sets(st.sampled_from(MODELS)))):
            count = draw(st.integers(0, 4))
            gpus = list(range(key, key + count))
            key += count
            parts = []
            while gpus and draw(rarely):
                owner, left = draw(st.sampled_from(ORGANIZATIONS)), draw(st.sampled_from([200, 500, 700]))
                parts.append(Part(gpus.pop(), owner, left))
            offers.append(
                gpu_offer(
                    host.node_id,
                    tuple(gpus[: draw(st.integers(0, 4))]),
                    draw(st.integers(1, 4)),
                    model=model,
                    gpu_count=count,
                    parts=tuple(parts),
                    mig=draw(st.sampled_from([""] * 7 + ["1g.10gb"])),
                    compute_capability=draw(versions),
                    nvlink=draw(st.booleans()),
                    pcie_mb=draw(st.sampled_from([0, 20_000])),
                    left_seconds=draw(st.sampled_from([None, None, 0, 100])),
                    open_seconds=draw(st.sampled_from([None, None, 0, 100])),
                    components=draw(beside),
                )
            )
        if draw(st.booleans()):
            price = draw(st.integers(1, 4))
            disk = draw(st.sampled_from([None, None, ComponentPrices(0, 0, A_BYTE)]))
            cpus = OfferFacts(f"{host.node_id}-cpu", host.node_id, Unit.CPU, "CPU", 64, 0, (), price, components=disk)
            offers.append(cpus)
    return Snapshot(hosts, offers)


terms = st.one_of(
    st.just(NO_TERMS),
    st.just(NO_TERMS),
    st.builds(
        Terms,
        regions=st.sampled_from([frozenset[str](), frozenset({"eu"})]),
        providers=st.sampled_from([frozenset[str](), frozenset(PROVIDERS[:2])]),
        providers_denied=st.sampled_from([frozenset[str](), frozenset(PROVIDERS[:1])]),
        tier_min=st.sampled_from([0, 0, 1]),
        reliability_milli_min=st.sampled_from([0, 0, 950]),
        driver_min=st.sampled_from([(), (), (8, 0)]),
        cuda_min=st.sampled_from([(), (), (8, 0)]),
        compute_capability_min=st.sampled_from([(), (), (9, 0)]),
        network_mbit_min=st.sampled_from([0, 0, 1000]),
        nvlink=rarely,
        pcie_mb_min=st.sampled_from([0, 0, 0, 20_000]),
        labels=st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"a"})]),
        tolerations=words,
        duration_seconds=st.sampled_from([0, 0, 50, 200]),
    ),
)


@st.composite
def request_lists(draw: st.DrawFn) -> list[Request]:
    """Any queue."""
    found = []
    for index in range(draw(st.integers(0, 12))):
        gpus = draw(st.integers(0, 3))
        part = draw(st.sampled_from([1000, 1000, 300, 500])) if gpus == 1 else 1000
        model = draw(st.sampled_from([None, "H100", "a10"]))
        limit = draw(st.sampled_from([None, None, 1, 2, 3]))
        found.append(
            request(
                f"job{index}",
                gpus,
                gpu=GpuRequest(count=gpus, model=model, mig=draw(migs)) if gpus else None,
                cpu_milli=draw(st.integers(1, 4)) * 500,
                memory_bytes=draw(st.integers(1, 4)),
                price_limit_microusd_per_unit_hour=limit,
                simulated=draw(rarely),
                gpu_milli=part,
                shares_with=draw(st.sampled_from(ORGANIZATIONS)) if part < 1000 else "",
                members=draw(st.sampled_from([1, 1, 1, 2, 3])) if part == 1000 else 1,
                within=draw(st.sampled_from(Within)),
                group=draw(st.sampled_from(["", "", "g"])),
                group_max=draw(st.sampled_from([0, 1, 2])),
                price_tolerance_milli=draw(st.sampled_from([0, 0, 500])),
                terms=draw(terms),
                spot=limit is not None and draw(st.booleans()),
            )
        )
    return found


def suits(asked: Request, offer: OfferFacts, host: NodeFacts) -> bool:
    """The rules once more, naively: may one member have it, if nothing else was placed since?"""
    want, gpu = asked.terms, asked.gpu
    limit = asked.price_limit_microusd_per_unit_hour
    lasts = max(want.duration_seconds, 1)
    return (
        offer.unit is asked.unit
        and host.simulated == asked.simulated
        and (limit is None or _pays(asked, limit, offer, host))
        and (gpu is None or gpu_matches(gpu, offer.model, offer.memory_bytes))
        and (gpu is None or offer.mig == (gpu.mig or ""))
        and offer.compute_capability >= want.compute_capability_min
        and (offer.nvlink or not want.nvlink)
        and offer.pcie_mb >= want.pcie_mb_min
        and all(seconds is None or seconds >= lasts for seconds in (offer.left_seconds, offer.open_seconds))
        and host.online
        and host.pool_ready
        and not host.drained
        and not host.quarantined
        and (not want.regions or host.region in want.regions)
        and (not want.providers or host.provider_id in want.providers)
        and host.provider_id not in want.providers_denied
        and host.tier >= want.tier_min
        and host.reliability_milli >= want.reliability_milli_min
        and host.driver >= want.driver_min
        and host.cuda >= want.cuda_min
        and host.network_mbit >= want.network_mbit_min
        and host.labels >= want.labels
        and host.taints <= want.tolerations
        and _has_room(asked, offer, host)
    )


def _pays(asked: Request, limit: int, offer: OfferFacts, host: NodeFacts) -> bool:
    asks = asks_all_in(asked, offer)
    if not asked.spot:
        return asks <= limit
    return host.spot_floor_milli is not None and limit * 1000 >= asks * host.spot_floor_milli


def asks_all_in(asked: Request, offer: OfferFacts) -> int:
    """What an offer asks of a request for a unit and hour, in fractions."""
    cpu, memory, disk = offer.components or (0, 0, 0)
    units = Fraction(asked.gpu.count * asked.gpu_milli if asked.gpu else asked.cpu_milli, 1000)
    share = Fraction(asked.cpu_milli * cpu, 1000)
    share += Fraction(asked.memory_bytes * memory + asked.disk_bytes * disk, 2**30)
    return offer.price_microusd_per_unit_hour + math.floor(share / units)


def _has_room(asked: Request, offer: OfferFacts, host: NodeFacts) -> bool:
    if asked.gpu is not None and asked.gpu_milli == 1000 and len(offer.free_gpus) < asked.gpu.count:
        return False
    if asked.gpu_milli < 1000 and not (
        offer.free_gpus
        or any(part.organization_id == asked.shares_with and part.free_milli >= asked.gpu_milli for part in offer.parts)
    ):
        return False
    crowd = dict(host.groups).get(asked.group, 0) if asked.group and asked.group_max else -1
    return (
        host.cpu_free_milli >= asked.cpu_milli
        and host.memory_free_bytes >= asked.memory_bytes
        and host.disk_free_bytes >= asked.disk_bytes
        and crowd < (asked.group_max or 1)
    )


def drawn(snapshot: Snapshot, decision: Decision) -> Snapshot:
    """The market after a decision, as its rows would say. Fails where something was given twice or too much."""
    asked = decision.request
    (host,) = (one for one in snapshot.nodes if one.node_id == decision.node.node_id)
    (offer,) = (one for one in snapshot.offers if one.offer_id == decision.offer.offer_id)
    groups = dict(host.groups)
    if asked.group:
        groups[asked.group] = groups.get(asked.group, 0) + 1
    host = replace(
        host,
        cpu_free_milli=host.cpu_free_milli - asked.cpu_milli,
        memory_free_bytes=host.memory_free_bytes - asked.memory_bytes,
        disk_free_bytes=host.disk_free_bytes - asked.disk_bytes,
        groups=tuple(sorted(groups.items())),
    )
    assert min(host.cpu_free_milli, host.memory_free_bytes, host.disk_free_bytes) >= 0
    assert len(decision.gpus) == (asked.gpu.count if asked.gpu else 0)
    free, parts = list(offer.free_gpus), {part.gpu: part for part in offer.parts}
    for gpu in decision.gpus:
        if gpu in free:
            free.remove(gpu)
            left = 1000 - asked.gpu_milli
        else:
            assert parts[gpu].organization_id == asked.shares_with, "nobody shares a GPU with another organization"
            left = parts.pop(gpu).free_milli - asked.gpu_milli
        assert left >= 0
        if asked.gpu_milli < 1000:
            parts[gpu] = Part(gpu, asked.shares_with, left)
    offer = replace(offer, free_gpus=tuple(free), parts=tuple(parts.values()))
    return Snapshot(
        [host if one.node_id == host.node_id else one for one in snapshot.nodes],
        [offer if one.offer_id == offer.offer_id else one for one in snapshot.offers],
    )


def plain(choice: Choice) -> list[tuple[object, ...]]:
    """What was decided, without what was known."""
    placed = [
        (one.request.job_id, one.member, one.offer.offer_id, one.gpus, one.price_microusd_per_unit_hour)
        for one in choice.decisions
    ]
    return [*placed, *((one.request.job_id, dict(one.removed), one.waits) for one in choice.unplaced)]
