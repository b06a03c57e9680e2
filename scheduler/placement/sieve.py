"""Which offers pass the rules, what each rule removed, and that in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from market.money import format_usdc
from market.resources import Unit
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules import NAMED, RULES
from scheduler.placement.rules.rule import Rule
from scheduler.placement.snapshot import Flags, Places


@dataclass(frozen=True, slots=True)
class Sieved:
    """suits: by offer. removed: how many offers each rule took away, in the rules' order, without zeros."""

    suits: Flags
    removed: Mapping[str, int]


def sieve(books: Books, request: Request, rules: Sequence[Rule] = RULES) -> Sieved:
    """The offers that pass every rule, and what each rule removed of what the ones before it had left."""
    asked = request.together
    at = np.arange(len(books.snapshot.offers))
    removed: dict[str, int] = {}
    for rule in rules:
        if len(at) == 0:
            break
        if rule.asked(asked):
            left = at[rule.keeps(books, asked, at)]
            if len(left) < len(at):
                removed[rule.name] = len(at) - len(left)
            at = left
    suits = np.zeros(len(books.snapshot.offers), dtype=np.bool_)
    suits[at] = True
    return Sieved(suits, removed)


def passing(books: Books, request: Request, at: Places, rules: Sequence[Rule]) -> Places:
    """Those of these offers that pass the rules, each judged by itself."""
    for rule in rules:
        if len(at) and not rule.of_many and rule.asked(request):
            at = at[rule.keeps(books, request, at)]
    return at


def only_for_now(removed: Mapping[str, int]) -> bool:
    """Whether some offer was removed only by how its node fares or what is free just now: waiting helps."""
    return any(not NAMED[name].standing for name in removed)


def in_words(removed: Mapping[str, int], offer_count: int) -> str:
    """The counts as a sentence, such as "of 12 offers: 7 with another GPU model, 5 above the price limit"."""
    if offer_count == 0:
        return "no offers stand in the market now"
    parts = [f"{count} {NAMED[name].removes}" for name, count in removed.items()]
    return f"of {offer_count} {'offer' if offer_count == 1 else 'offers'}: {', '.join(parts)}" if parts else ""


def price_in_words(price_microusd_per_unit_hour: int, unit: Unit) -> str:
    """A price for people, such as "0.42 USDC per GPU-hour"."""
    return f"{format_usdc(price_microusd_per_unit_hour)} USDC per {unit.upper()}-hour"
