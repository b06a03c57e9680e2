"""What a round is told of a node and of an offer. What no row says yet has a value that removes nothing."""

from dataclasses import dataclass, fields
from operator import attrgetter

from market.components import ComponentPrices
from market.resources import Unit
from market.terms_api import SPOT_FLOOR_MILLI

Version = tuple[int, ...]
"""Such as (550, 54, 15): compared number by number. Empty: not known."""


def version_of(text: str | None) -> Version:
    """The numbers that a version begins with; none of what is not one."""
    numbers: list[int] = []
    for part in (text or "").split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as a round sees it; the free figures are what no lease holds.

    groups: how many members of a group run on it, for groups that are spread. region: "" where nobody said. tier: how
    far its provider and devices were verified, 0 not at all. reliability_milli: thousandths. labels: what it is called,
    such as "ssd=nvme". taints: what keeps work away that does not tolerate it. drained: takes no new work.
    quarantined: no work until somebody has looked at it. spot_floor_milli: the least that it takes for spot jobs, in
    thousandths of what its offers ask; None: it takes no spot jobs.
    """

    node_id: str
    provider_id: str
    name: str
    online: bool
    pool_ready: bool
    simulated: bool
    cpu_total_milli: int
    cpu_free_milli: int
    memory_total_bytes: int
    memory_free_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    revision: int = 0
    groups: tuple[tuple[str, int], ...] = ()
    region: str = ""
    tier: int = 0
    reliability_milli: int = 1000
    driver: Version = ()
    cuda: Version = ()
    network_mbit: int = 0
    labels: frozenset[str] = frozenset()
    taints: frozenset[str] = frozenset()
    drained: bool = False
    quarantined: bool = False
    spot_floor_milli: int | None = SPOT_FLOOR_MILLI


@dataclass(frozen=True, slots=True)
class Part:
    """A GPU that is shared: so many thousandths of it are left, to jobs of that organization alone."""

    gpu: int
    organization_id: str
    free_milli: int


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """A standing offer: the GPUs of one model on one node, or its CPUs.

    memory_bytes: of one such GPU, or the node's. free_gpus: the keys of the GPUs that no lease holds, in the node's
    order (empty for CPUs). parts: those that leases hold a part of. mig: the profile its devices are cut to, "" whole.
    pcie_mb: MB a second between the host and the slowest of its GPUs, 0 where one was not measured.
    left_seconds: until it ends for good, open_seconds: until its schedule closes it (0: it is closed); None: never.
    components: what it asks beside the price of its units; None: nothing.
    """

    offer_id: str
    node_id: str
    unit: Unit
    model: str
    memory_bytes: int
    gpu_count: int
    free_gpus: tuple[int, ...]
    price_microusd_per_unit_hour: int
    parts: tuple[Part, ...] = ()
    mig: str = ""
    compute_capability: Version = ()
    nvlink: bool = False
    left_seconds: int | None = None
    open_seconds: int | None = None
    pcie_mb: int = 0
    components: ComponentPrices | None = None


_OF_ROOM = {"cpu_free_milli", "memory_free_bytes", "disk_free_bytes", "revision", "groups", "free_gpus", "parts"}
node_but_room = attrgetter(*(field.name for field in fields(NodeFacts) if field.name not in _OF_ROOM))
"""All that a node is, but what of it is free."""
offer_but_room = attrgetter(*(field.name for field in fields(OfferFacts) if field.name not in _OF_ROOM))
"""All that an offer is, but what of it is free."""
