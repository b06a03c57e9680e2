"""What a rule is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from scheduler.placement.books import Books
from scheduler.placement.requests import Request, Terms
from scheduler.placement.snapshot import Flags, Places


class Judges(StrEnum):
    """offer: what an offer is, whoever has it. now: how its node fares now. room: what of it is free, which every
    placement changes."""

    OFFER = "offer"
    NOW = "now"
    ROOM = "room"


@dataclass(frozen=True, slots=True)
class Relaxing:
    """How a customer could ask for less. field: as job.yaml or a flag calls it. says: what is asked, in words. least:
    the request changed as little as lets some of these offers through, which pass every other rule; None: no way."""

    field: str
    says: Callable[[Request], str]
    least: Callable[[Books, Request, Places], Request | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """keeps: which of the offers at these places stay. removes: says what it took away. asked: whether the request
    asks anything of the kind; where it does not the rule keeps all. of_many: an offer's fate hangs on the others
    there."""

    name: str
    judges: Judges
    removes: str
    keeps: Callable[[Books, Request, Places], Flags]
    asked: Callable[[Request], bool] = lambda _: True
    relaxing: Relaxing | None = None
    of_many: bool = False

    @property
    def standing(self) -> bool:
        """It judges what an offer is: waiting does not help."""
        return self.judges is Judges.OFFER


def with_terms(request: Request, **changes: Any) -> Request:
    """The request under other terms."""
    return replace(request, terms=replace(request.terms, **changes))


def without_term(field: str, says: Callable[[Terms], str], **dropped: Any) -> Relaxing:
    """The customer could ask nothing of the kind."""
    return Relaxing(
        field, lambda request: says(request.terms) or "any", lambda _, request, __: with_terms(request, **dropped)
    )


def listed(values: frozenset[str]) -> str:
    """Names in words."""
    return ", ".join(sorted(values))


def dotted(version: tuple[int, ...]) -> str:
    """A version in words."""
    return ".".join(map(str, version))
