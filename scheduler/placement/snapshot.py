"""The market at one moment: its nodes and offers, and any figure of theirs as an array once somebody asks for it."""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.resources import Unit
from scheduler.placement.facts import NodeFacts, OfferFacts, node_but_room, offer_but_room

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A number of each node, or of each offer."""

    of_node: bool
    read: Callable[[Any], int]


@dataclass(frozen=True, slots=True, eq=False)
class Facet:
    """A value of each node, or of each offer, of which there are few different ones: each is judged once."""

    of_node: bool
    read: Callable[[Any], Hashable]


@dataclass(frozen=True, slots=True)
class Changes:
    """How a snapshot differs from an earlier one of the same nodes and offers. lasting: not only in what is free."""

    nodes: set[int]
    lasting: bool


PRICE = Column(False, lambda offer: offer.price_microusd_per_unit_hour)
IS_GPU = Column(False, lambda offer: offer.unit is Unit.GPU)
GPU_COUNT = Column(False, lambda offer: offer.gpu_count)


class Snapshot:
    """Places name offers by their position in `offers`. Arrays are aligned to them."""

    def __init__(self, nodes: Sequence[NodeFacts], offers: Sequence[OfferFacts]) -> None:
        position = {node.node_id: index for index, node in enumerate(nodes)}
        self.nodes = tuple(nodes)
        self.offers = tuple(offer for offer in offers if offer.node_id in position)
        self.node_of = np.array([position[offer.node_id] for offer in self.offers], dtype=np.intp)
        self._numbers: dict[Column, Numbers] = {}
        self._facets: dict[Facet, tuple[Numbers, dict[Hashable, int]]] = {}

    def but(self, nodes: Mapping[int, NodeFacts], offers: Mapping[int, OfferFacts]) -> "Snapshot":
        """The same nodes and offers, of which these are told anew, by their positions."""
        other = copy(self)
        other.nodes = tuple([nodes.get(at, one) for at, one in enumerate(self.nodes)]) if nodes else self.nodes
        other.offers = tuple([offers.get(at, one) for at, one in enumerate(self.offers)]) if offers else self.offers
        other._numbers, other._facets = {}, {}
        return other

    @property
    def price(self) -> Numbers:
        """Micro-USDC for a unit and hour, of the unit alone; placement/prices.py has what a request is asked."""
        return self.numbers(PRICE)

    @property
    def is_gpu(self) -> Flags:
        """Of GPUs, not of CPUs."""
        return self.numbers(IS_GPU).astype(np.bool_)

    def numbers(self, column: Column) -> Numbers:
        """By offer. The array is the snapshot's own: never write to it."""
        found = self._numbers.get(column)
        if found is None:
            if column.of_node:
                by_node = np.fromiter((column.read(node) for node in self.nodes), np.int64, len(self.nodes))
                found = by_node[self.node_of]
            else:
                found = np.fromiter((column.read(offer) for offer in self.offers), np.int64, len(self.offers))
            self._numbers[column] = found
        return found

    def holds(self, column: Column, at: Places) -> Flags:
        """At which of these offers a column of yes and no says yes."""
        flags: Flags = self.numbers(column)[at] != 0
        return flags

    def where(self, facet: Facet, holds: Callable[[Any], bool], at: Places) -> Flags:
        """At which of these offers it holds."""
        code, values = self._coded(facet)
        return np.array([holds(value) for value in values], dtype=np.bool_)[code[at]]

    def valued(self, facet: Facet, value_of: Callable[[Any], int], at: Places | slice) -> Numbers:
        """A number of these offers that follows from the value of each."""
        code, values = self._coded(facet)
        return np.array([value_of(value) for value in values], dtype=np.int64)[code[at]]

    def all_are(self, facet: Facet, value: Hashable) -> bool:
        """Whether no offer has another value."""
        _, values = self._coded(facet)
        return all(one == value for one in values)

    def _coded(self, facet: Facet) -> tuple[Numbers, dict[Hashable, int]]:
        """By offer the number of its value, and the values in the order of their numbers."""
        known = self._facets.get(facet)
        if known is None:
            codes: dict[Hashable, int] = {}
            values = (facet.read(one) for one in (self.nodes if facet.of_node else self.offers))
            coded = np.fromiter((codes.setdefault(value, len(codes)) for value in values), np.int64)
            known = self._facets[facet] = (coded[self.node_of] if facet.of_node else coded, codes)
        return known

    def changes_since(self, earlier: "Snapshot") -> Changes | None:
        """What changed, None where nodes, offers or devices came or went. What was an array there is one here."""
        if len(self.nodes) != len(earlier.nodes) or len(self.offers) != len(earlier.offers):
            return None
        changed: set[int] = set()
        lasting = False
        for index, (node, before) in enumerate(zip(self.nodes, earlier.nodes, strict=True)):
            if node is not before and node != before:
                if node.node_id != before.node_id:
                    return None
                if node.provider_id != before.provider_id:
                    return None
                changed.add(index)
                lasting |= node_but_room(node) != node_but_room(before)
        for index, (offer, was) in enumerate(zip(self.offers, earlier.offers, strict=True)):
            if offer is not was and offer != was:
                if _device(offer) != _device(was):
                    return None
                changed.add(int(self.node_of[index]))
                lasting |= offer_but_room(offer) != offer_but_room(was)
        if not lasting:
            # No column or facet of room is kept here: the books have what is free.
            self._numbers, self._facets = earlier._numbers, earlier._facets
        return Changes(changed, lasting)


def _device(offer: OfferFacts) -> tuple[object, ...]:
    return offer.offer_id, offer.node_id, offer.unit, offer.model, offer.memory_bytes, offer.gpu_count


def key_of(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
