"""What is asked of the market."""

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from market.components import ComponentPrices
from market.money import BASIS_POINTS, beside_price_microusd
from market.resources import GpuRequest, Unit
from scheduler.placement.facts import Version

WHOLE_MILLI = 1000
Asked = TypeVar("Asked", int, NDArray[np.int64])
NO_BID = 1 << 62


class Within(StrEnum):
    """Where the members of a gang stand: on nodes of one pool, each on its own, or all on one node."""

    POOL = "pool"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Terms:
    """What few requests ask for. What is empty, 0 or None asks nothing.

    regions, providers, tolerations: any of these will do; labels: all of them are asked for. *_min: at least that.
    duration_seconds: how long the offer must stand.
    """

    regions: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    providers_denied: frozenset[str] = frozenset()
    tier_min: int = 0
    reliability_milli_min: int = 0
    driver_min: Version = ()
    cuda_min: Version = ()
    compute_capability_min: Version = ()
    network_mbit_min: int = 0
    nvlink: bool = False
    labels: frozenset[str] = frozenset()
    tolerations: frozenset[str] = frozenset()
    duration_seconds: int = 0
    pcie_mb_min: int = 0
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash(_terms(self)))

    def __hash__(self) -> int:
        """Requests are looked up by it at each decision: it is computed once."""
        return self._hash


_terms = attrgetter(*(one.name for one in fields(Terms) if one.compare))
NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. None, or 0 GPUs, asks nothing of that kind: a search leaves open what it does not filter.

    gpu.count of a request for GPUs must lie on one node, under one offer. gpu_milli: thousandths of one GPU, shared
    with jobs of shares_with alone, the organization that accepts it. members: a gang is placed whole or not at all,
    each member with these resources. group, group_max: at most so many members of that group on one node, 0 any
    number. price_tolerance_milli: by how many thousandths an offer may be dearer than the cheapest if it strands less.
    spot: it may be interrupted, and pays its limit, the bid, where an offer asks more. discount_basis_points: off what
    offers ask all in; limits, bids and every price that a request is told are what is left.
    """

    job_id: str
    unit: Unit | None
    gpu: GpuRequest | None
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    price_limit_microusd_per_unit_hour: int | None
    simulated: bool | None
    gpu_milli: int = WHOLE_MILLI
    shares_with: str = ""
    members: int = 1
    within: Within = Within.POOL
    group: str = ""
    group_max: int = 0
    price_tolerance_milli: int = 0
    terms: Terms = NO_TERMS
    spot: bool = False
    discount_basis_points: int = 0

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"{self.members} members: a gang has at least one")
        if self.gpu_milli != WHOLE_MILLI and (
            not 0 < self.gpu_milli < WHOLE_MILLI or not self.shares_with or self.gpu is None or self.gpu.count != 1
        ):
            raise ValueError("a part of a GPU is of one GPU, and shared with an organization that is named")
        if self.spot and self.price_limit_microusd_per_unit_hour is None:
            raise ValueError("a spot job bids")

    @property
    def bid(self) -> int:
        """What a spot job bids for a unit and hour; more than any bid for work that nothing interrupts."""
        limit = self.price_limit_microusd_per_unit_hour
        return limit if self.spot and limit is not None else NO_BID

    def price_of(self, asked: Asked) -> Asked:
        """What it would pay for what offers ask of it all in, rounded down as `discounted_microusd` does."""
        if not self.discount_basis_points:
            return asked
        left = BASIS_POINTS - self.discount_basis_points
        # In two steps, because the product of the largest price would not fit 64 bits.
        return asked // BASIS_POINTS * left + asked % BASIS_POINTS * left // BASIS_POINTS

    @property
    def quantity_milli(self) -> int:
        """Thousandths of the units that one member is priced by: its GPUs, or its CPUs where it asks for none."""
        return self.gpu.count * self.gpu_milli if self.gpu else self.cpu_milli

    def beside(self, prices: ComponentPrices) -> int:
        """What its CPUs, memory and disk add to each unit's price under an offer that asks so much for them."""
        return beside_price_microusd((self.cpu_milli, self.memory_bytes, self.disk_bytes), prices, self.quantity_milli)

    @property
    def shape(self) -> Self:
        """The request without whose it is: two of one shape fit the same offers."""
        return replace(self, job_id="")

    def with_gpu(self, **changes: Any) -> Self | None:
        """The request for other GPUs; None for one without any."""
        return None if self.gpu is None else replace(self, gpu=self.gpu.model_copy(update=changes))

    @property
    def together(self) -> Self:
        """What one node must have: of a gang on one node that is what all its members need."""
        if self.members == 1 or self.within is Within.POOL:
            return self
        gpu = self.gpu and self.gpu.model_copy(update={"count": self.gpu.count * self.members})
        if gpu is not None and self.gpu_milli != WHOLE_MILLI:
            raise ValueError("parts of a GPU cannot be a gang on one node")
        return replace(
            self,
            gpu=gpu,
            cpu_milli=self.cpu_milli * self.members,
            memory_bytes=self.memory_bytes * self.members,
            disk_bytes=self.disk_bytes * self.members,
            members=1,
        )


_but_gpu = attrgetter(*(one.name for one in fields(Request) if one.name not in {"job_id", "gpu"}))


def shape_of(request: Request) -> tuple[object, ...]:
    """What tells shapes apart, quicker to make and to look up than a shape."""
    gpu = request.gpu
    if gpu is None:
        return _but_gpu(request)
    return (gpu.count, gpu.model, gpu.memory_min_bytes, gpu.memory_max_bytes, gpu.mig, *_but_gpu(request))
