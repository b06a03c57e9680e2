"""What waits, and whose it is. Every time is in seconds of one clock that the caller reads."""

from dataclasses import dataclass

from market.resources import Unit
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot

PRIORITY_USUAL = 0
PRIORITY_MAX = 100


@dataclass(frozen=True, slots=True)
class Amounts:
    """GPUs and CPUs in thousandths, memory in bytes."""

    gpu_milli: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.gpu_milli + other.gpu_milli,
            self.cpu_milli + other.cpu_milli,
            self.memory_bytes + other.memory_bytes,
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What an organization is entitled to beside others.

    weight_milli: its part of what all compete for, 1000 as usual. quota_gpus: within so many GPUs its turn comes before
    those that borrow. ceiling_gpus: it never holds more than so many; None: no ceiling.
    """

    weight_milli: int = 1000
    quota_gpus: int = 0
    ceiling_gpus: int | None = None

    def __post_init__(self) -> None:
        if self.weight_milli < 1 or self.quota_gpus < 0 or (self.ceiling_gpus or 0) < 0:
            raise ValueError("a weight is at least a thousandth, quotas and ceilings are not negative")


USUAL = Account()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request in the queue. priority: among its organization's own. recovering: its node was lost. standing: no offer
    suited it when it was last looked at, so that it waits for one, or for a price. passed_at: since when younger ones
    of its organization are placed while it is not; None: it was never passed. held: the nodes where places are held for
    it, empty where none are."""

    request: Request
    organization_id: str
    submitted_at: int
    priority: int = PRIORITY_USUAL
    recovering: bool = False
    standing: bool = False
    passed_at: int | None = None
    held: tuple[str, ...] = ()

    @property
    def age(self) -> tuple[int, str]:
        """Sorts the oldest first."""
        return self.submitted_at, self.request.job_id


def asked_by(request: Request) -> Amounts:
    """What a request takes in all."""
    gpus = request.gpu.count * request.gpu_milli if request.gpu else 0
    members = request.members
    return Amounts(gpus * members, request.cpu_milli * members, request.memory_bytes * members)


def capacity_of(snapshot: Snapshot) -> Amounts:
    """All there is, free or not."""
    return Amounts(
        1000 * sum(offer.gpu_count for offer in snapshot.offers if offer.unit is Unit.GPU),
        sum(node.cpu_total_milli for node in snapshot.nodes),
        sum(node.memory_total_bytes for node in snapshot.nodes),
    )
