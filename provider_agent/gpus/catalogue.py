"""What cards of a name have, by gpuhunt's catalogue: memory and compute capability, to fill in and to doubt."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from market.resources import NOMINAL_HIGH, NOMINAL_LOW, GpuFacts

_GIB = 2**30
_FILLERS = re.compile(r"nvidia|geforce|tesla|quadro|gpu|graphics|generation|edition|[^a-z0-9]")
_VARIANTS = re.compile(r"^(laptop|mobile|maxq|d|super|ti|nvl|ada|s(?!xm)|m)")
"""What follows a name that the catalogue has makes it another card: "4090laptop" and "4090d" are no 4090."""

_ECC_PERCENT = 8
"""ECC kept in the memory itself takes 1/16 of it on older cards, and a little is the driver's."""


@dataclass(frozen=True, slots=True)
class CatalogueCard:
    """memory_gib: as the card is sold."""

    memory_gib: int
    compute_capability: str


def cards_of(model: str) -> list[CatalogueCard]:
    """The cards that may bear that name (the same name is sold with several sizes); none for one that is not listed.

    model: as NVML writes it, such as "NVIDIA A100-SXM4-80GB" or "NVIDIA GeForce RTX 4090".
    """
    words = _FILLERS.sub("", model.lower())
    # "RTX A6000" is listed as A6000, "RTX 6000" under its whole name.
    for written in (words, words.removeprefix("rtx")):
        name = max((name for name in _catalogue() if written.startswith(name)), key=len, default=None)
        if name is not None and not _VARIANTS.match(written[len(name) :]):
            return _catalogue()[name]
    return []


def compute_capability(model: str) -> str | None:
    """Of cards of that name, where there is one answer."""
    found = {card.compute_capability for card in cards_of(model)}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=256)
def contradiction(facts: GpuFacts) -> str | None:
    """How a device's facts are not those of a card of its name, in words; None for a name that is not listed, and for a
    slice, which has less than its card."""
    cards = cards_of(facts.model) if facts.mig_profile is None else []
    if not cards:
        return None
    if facts.compute_capability is not None and facts.compute_capability not in {c.compute_capability for c in cards}:
        return f"{facts.model} has compute capability {cards[0].compute_capability}, not {facts.compute_capability}"
    percent = [facts.memory_bytes * 100 // (card.memory_gib * _GIB) for card in cards]
    if not any(NOMINAL_LOW - _ECC_PERCENT <= each <= NOMINAL_HIGH for each in percent):
        sizes = " or ".join(f"{card.memory_gib}" for card in cards)
        return f"{facts.model} has {sizes} GiB, not {facts.memory_bytes / _GIB:.0f}"
    return None


@cache
def _catalogue() -> dict[str, list[CatalogueCard]]:
    # Imported where there is a card to look up: it brings an HTTP client along.
    from gpuhunt import KNOWN_NVIDIA_GPUS  # noqa: PLC0415

    cards: dict[str, list[CatalogueCard]] = {}
    for known in KNOWN_NVIDIA_GPUS:
        major, minor = known.compute_capability
        name = re.sub(r"[^a-z0-9]", "", known.name.lower())
        cards.setdefault(name, []).append(CatalogueCard(known.memory, f"{major}.{minor}"))
    return cards
