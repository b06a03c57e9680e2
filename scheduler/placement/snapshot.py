"""What a placing round knows: the offers and their nodes as arrays, and what of them is still free."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from market.resources import GpuRequest, Unit, gpu_matches

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as a round sees it; the free figures are what no lease holds."""

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


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """A standing offer: the GPUs of one model on one node, or its CPUs.

    memory_bytes: of one such GPU, or the node's. free_gpus: the keys of the GPUs that no lease holds, in the node's
    order (empty for CPUs).
    """

    offer_id: str
    node_id: str
    unit: Unit
    model: str
    memory_bytes: int
    gpu_count: int
    free_gpus: tuple[int, ...]
    price_microusd_per_unit_hour: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. None, or 0 GPUs, asks nothing of that kind: a search leaves open what it does not filter.

    gpu.count of a request for GPUs must lie on one node, under one offer.
    """

    job_id: str
    unit: Unit | None
    gpu: GpuRequest | None
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    price_limit_microusd_per_unit_hour: int | None
    simulated: bool | None

    @property
    def shape(self) -> Self:
        """The request without whose it is: two of one shape fit the same offers."""
        return replace(self, job_id="")


class Snapshot:
    """The market at one moment. Arrays are aligned to `offers`, except those named node_*, aligned to `nodes`."""

    def __init__(self, nodes: Sequence[NodeFacts], offers: Sequence[OfferFacts]) -> None:
        position = {node.node_id: index for index, node in enumerate(nodes)}
        self.nodes = tuple(nodes)
        self.offers = tuple(offer for offer in offers if offer.node_id in position)
        self.node_of = np.array([position[offer.node_id] for offer in self.offers], dtype=np.intp)
        self.is_gpu = _flags(offer.unit is Unit.GPU for offer in self.offers)
        self.price = _numbers(offer.price_microusd_per_unit_hour for offer in self.offers)
        self.gpu_count = _numbers(offer.gpu_count for offer in self.offers)
        self.gpu_memory = _numbers(offer.memory_bytes for offer in self.offers)
        self.online = _flags(node.online for node in nodes)[self.node_of]
        self.pool_ready = _flags(node.pool_ready for node in nodes)[self.node_of]
        self.simulated = _flags(node.simulated for node in nodes)[self.node_of]
        self.cpu_total = _numbers(node.cpu_total_milli for node in nodes)[self.node_of]
        self.memory_total = _numbers(node.memory_total_bytes for node in nodes)[self.node_of]
        self.disk_total = _numbers(node.disk_total_bytes for node in nodes)[self.node_of]
        self.provider_key = _keys(node.provider_id for node in nodes)[self.node_of]
        self.node_has_gpus = np.zeros(len(self.nodes), dtype=np.bool_)
        self.node_has_gpus[self.node_of[self.is_gpu]] = True
        self._models: dict[str, Flags] = {}

    def of_model(self, model: str | None) -> Flags:
        """The GPU offers whose card has that name (None: any name)."""
        if model is None:
            return self.is_gpu
        if model not in self._models:
            wanted = GpuRequest(count=1, model=model)
            self._models[model] = self.is_gpu & _flags(
                gpu_matches(wanted, offer.model, offer.memory_bytes) for offer in self.offers
            )
        return self._models[model]


@dataclass(slots=True)
class Books:
    """What is free, drawn down as a round decides. node_cpu .. node_disk are aligned to nodes, gpus to offers."""

    snapshot: Snapshot
    node_cpu: Numbers = field(init=False)
    node_memory: Numbers = field(init=False)
    node_disk: Numbers = field(init=False)
    gpus: Numbers = field(init=False)
    _free: dict[int, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        nodes = self.snapshot.nodes
        self.node_cpu = _numbers(node.cpu_free_milli for node in nodes)
        self.node_memory = _numbers(node.memory_free_bytes for node in nodes)
        self.node_disk = _numbers(node.disk_free_bytes for node in nodes)
        self.gpus = _numbers(len(offer.free_gpus) for offer in self.snapshot.offers)

    def take(self, offer: int, request: Request) -> tuple[int, ...]:
        """Draw a request from an offer (by its position); the keys of the GPUs it gets."""
        node = self.snapshot.node_of[offer]
        self.node_cpu[node] -= request.cpu_milli
        self.node_memory[node] -= request.memory_bytes
        self.node_disk[node] -= request.disk_bytes
        if request.gpu is None:
            return ()
        free = self._free.setdefault(offer, list(self.snapshot.offers[offer].free_gpus))
        taken = tuple(free[: request.gpu.count])
        del free[: request.gpu.count]
        self.gpus[offer] = len(free)
        return taken


def key_of(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _keys(texts: Iterable[str]) -> NDArray[np.uint64]:
    return np.fromiter((key_of(text) for text in texts), dtype=np.uint64)


def _numbers(values: Iterable[int]) -> Numbers:
    return np.fromiter(values, dtype=np.int64)


def _flags(values: Iterable[bool]) -> Flags:
    return np.fromiter(values, dtype=np.bool_)
