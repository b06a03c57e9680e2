"""What a round comes to."""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.requests import Request


@dataclass(frozen=True, slots=True)
class Decision:
    """A request, or one member of its gang, gets these GPUs (or CPUs) of an offer at that price."""

    request: Request
    offer: OfferFacts
    node: NodeFacts
    gpus: tuple[int, ...]
    price_microusd_per_unit_hour: int
    member: int = 0


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A request no offer suits now. removed: by rule. waits: some offer would suit if it were free."""

    request: Request
    removed: Mapping[str, int]
    waits: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """decisions: in the requests' order, a gang's members one after the other."""

    decisions: list[Decision]
    unplaced: list[Unplaced]
