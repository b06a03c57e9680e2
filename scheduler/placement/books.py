"""What of the market is free, drawn down as a round decides."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np

from market.resources import Unit
from scheduler.placement.facts import OfferFacts
from scheduler.placement.requests import WHOLE_MILLI, Request
from scheduler.placement.snapshot import Flags, Numbers, Places, Snapshot, key_of


class Books:
    """cpu, memory, disk: by node. free, owner: by offer and slot, thousandths of a GPU and whose begun one it is
    (0: nobody's). whole: by offer, how many GPUs nobody holds a part of. members: by group and node. beside_gpus: by
    offer of CPUs, whether its node offers GPUs too. providers: by offer, whose it is; and a number for each of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.cpu = _column([node.cpu_free_milli for node in snapshot.nodes])
        self.memory = _column([node.memory_free_bytes for node in snapshot.nodes])
        self.disk = _column([node.disk_free_bytes for node in snapshot.nodes])
        names = {node.provider_id: 0 for node in snapshot.nodes}
        code = {name: index for index, name in enumerate(names)}
        by_node = _column([code[node.provider_id] for node in snapshot.nodes])
        self.providers = by_node[snapshot.node_of], _column([key_of(name) - (1 << 63) for name in names])
        self.members: dict[str, Counter[int]] = {}
        self._owners: dict[str, int] = {}
        offers = snapshot.offers
        slots = max((max(offer.gpu_count, len(offer.free_gpus) + len(offer.parts)) for offer in offers), default=0)
        self.free = np.zeros((len(offers), slots), dtype=np.int64)
        self.owner = np.zeros_like(self.free)
        self.whole = np.zeros(len(offers), dtype=np.int64)
        self._keys: list[tuple[int, ...]] = [()] * len(offers)
        self.offers_of: list[list[int]] = [[] for _ in snapshot.nodes]
        for index, node in enumerate(snapshot.node_of.tolist()):
            self.offers_of[node].append(index)
        self.beside_gpus = np.zeros(len(offers), dtype=np.int64)
        for index, offer in enumerate(offers):
            if offer.unit is Unit.GPU:
                self._list(index, offer)
            else:
                self.beside_gpus[index] = any(offers[other].unit is Unit.GPU for other in self._beside(index))
        for index, node_facts in enumerate(snapshot.nodes):
            for group, count in node_facts.groups:
                self.members.setdefault(group, Counter())[index] = count

    def agree(self, snapshot: Snapshot, node: int) -> bool:
        """Whether a later snapshot says of a node what is written here."""
        facts = snapshot.nodes[node]
        if self.members or facts.groups:
            return False
        if facts.cpu_free_milli != self.cpu[node] or facts.memory_free_bytes != self.memory[node]:
            return False
        return facts.disk_free_bytes == self.disk[node] and all(
            not snapshot.offers[index].parts and snapshot.offers[index].free_gpus == self._free_keys(index)
            for index in self.offers_of[node]
        )

    def put(self, snapshot: Snapshot, node: int) -> None:
        """Write down what is free on a node anew, as a later snapshot of the same nodes and offers says."""
        facts = snapshot.nodes[node]
        self.cpu[node], self.memory[node] = facts.cpu_free_milli, facts.memory_free_bytes
        self.disk[node] = facts.disk_free_bytes
        for index in self.offers_of[node]:
            self._list(index, snapshot.offers[index])
        for group in list(self.members):
            count = self.members[group]
            count.pop(node, None)
            if not count:
                del self.members[group]
        for group, members in facts.groups:
            self.members.setdefault(group, Counter())[node] = members

    def owner_of(self, organization_id: str) -> int:
        """The number that stands for an organization whose jobs share GPUs; 0 for nobody."""
        return self._owners.setdefault(organization_id, len(self._owners) + 1) if organization_id else 0

    def in_group(self, group: str, nodes: Places) -> Numbers:
        """How many members of a group run on these nodes."""
        count = self.members.get(group, Counter())
        return np.array([count.get(node, 0) for node in nodes.tolist()], dtype=np.int64)

    def admits(self, request: Request, at: Places) -> Flags:
        """Which of these offers have the GPUs free, or a slot that may be shared."""
        if request.gpu is None:
            return np.ones(len(at), dtype=np.bool_)
        if request.gpu_milli == WHOLE_MILLI:
            return self.whole[at] >= request.gpu.count
        owner = self.owner[at]
        mine = (owner == 0) | (owner == self.owner_of(request.shares_with))
        found: Flags = ((self.free[at] >= request.gpu_milli) & mine).any(axis=1)
        return found

    def slots(self, offer: int, request: Request) -> list[int]:
        """The slots a request gets where nothing says which: the first that nobody holds, or the fullest shared one."""
        if request.gpu is None:
            return []
        free: list[int] = self.free[offer].tolist()
        if request.gpu_milli == WHOLE_MILLI:
            return [slot for slot, milli in enumerate(free) if milli == WHOLE_MILLI][: request.gpu.count]
        owners, mine = self.owner[offer].tolist(), (0, self.owner_of(request.shares_with))
        fit = [slot for slot, milli in enumerate(free) if milli >= request.gpu_milli and owners[slot] in mine]
        return [min(fit, key=lambda slot: (free[slot], slot))]

    def take(self, offer: int, request: Request, slots: Sequence[int]) -> tuple[int, ...]:
        """Draw a request from these slots of an offer; the keys of the GPUs it gets."""
        node = int(self.snapshot.node_of[offer])
        self.cpu[node] -= request.cpu_milli
        self.memory[node] -= request.memory_bytes
        self.disk[node] -= request.disk_bytes
        if request.group:
            self.members.setdefault(request.group, Counter())[node] += 1
        for slot in slots:
            self.whole[offer] -= self.free[offer, slot] == WHOLE_MILLI
            self.free[offer, slot] -= request.gpu_milli
            self.owner[offer, slot] = self.owner_of(request.shares_with) if request.gpu_milli != WHOLE_MILLI else 0
        return tuple(self._keys[offer][slot] for slot in slots)

    def _beside(self, offer: int) -> list[int]:
        return self.offers_of[int(self.snapshot.node_of[offer])]

    def _free_keys(self, offer: int) -> tuple[int, ...] | None:
        """None where a GPU is shared."""
        free: list[int] = self.free[offer].tolist()
        if any(0 < milli < WHOLE_MILLI for milli in free):
            return None
        return tuple(key for key, milli in zip(self._keys[offer], free, strict=False) if milli)

    def _list(self, index: int, offer: OfferFacts) -> None:
        whole, parts = len(offer.free_gpus), offer.parts
        self.whole[index] = whole
        self.free[index, :whole] = WHOLE_MILLI
        self.free[index, whole:] = 0
        self.owner[index] = 0
        for slot, part in enumerate(parts, start=whole):
            self.free[index, slot] = part.free_milli
            self.owner[index, slot] = self.owner_of(part.organization_id)
        self._keys[index] = tuple(chain(offer.free_gpus, (part.gpu for part in parts)))


def _column(values: Sequence[int]) -> Numbers:
    return np.array(values, dtype=np.int64)
