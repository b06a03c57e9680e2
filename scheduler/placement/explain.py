"""Why a request finds what it finds: what each rule removed, and the smallest changes that would let it match."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules import RULES
from scheduler.placement.rules.rule import Relaxing, Rule
from scheduler.placement.sieve import in_words, sieve
from scheduler.placement.snapshot import Places

CHANGES_MAX = 3
"""Changes that are told; the ones that would let most offers match come first."""

TRIED_MAX = 32
"""Sets of rules that are tried, those of fewest rules first."""


@dataclass(frozen=True, slots=True)
class Change:
    """Asked so, offers would match. parts: each field, what was asked of it and what to ask instead, in words."""

    parts: tuple[tuple[str, str, str], ...]
    request: Request
    offers: int

    def __str__(self) -> str:
        """Such as "max_price 0.42 instead of 0.40: 3 offers"."""
        said = " and ".join(f"{field} {instead} instead of {asked}" for field, asked, instead in self.parts)
        return f"{said}: {self.offers} {'offer' if self.offers == 1 else 'offers'}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Of so many offers so many match. removed: by rule, in the rules' order. changes: where none matches."""

    offers: int
    matching: int
    removed: Mapping[str, int]
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        """The counts, then the changes, in one sentence."""
        counts = in_words(self.removed, self.offers)
        would = "; ".join(str(change) for change in self.changes)
        return f"{counts}; would match: {would}" if would else counts


def explain(books: Books, request: Request, rules: Sequence[Rule] = RULES) -> Explanation:
    """Judge a request by these rules. Every change that is told has been tried: so many offers match then."""
    found = sieve(books, request, rules)
    matching = int(np.count_nonzero(found.suits))
    changes = () if matching else _changes(books, request, rules)
    return Explanation(len(books.snapshot.offers), matching, found.removed, changes)


def _changes(books: Books, request: Request, rules: Sequence[Rule]) -> tuple[Change, ...]:
    """The least that has to change: one thing if that is enough, else the fewest things at once."""
    failing = _failing(books, request, rules)
    fewest = sorted(failing, key=len)[:TRIED_MAX]
    tried = (_relaxed(books, request, rules, broken, failing[broken]) for broken in fewest)
    found = sorted((change for change in tried if change is not None), key=_order)
    return tuple(change for change in found if len(change.parts) == len(found[0].parts))[:CHANGES_MAX]


def _order(change: Change) -> tuple[object, ...]:
    return len(change.parts), -change.offers, change.parts


def _failing(books: Books, request: Request, rules: Sequence[Rule]) -> dict[tuple[Rule, ...], Places]:
    """The offers the customer could have by asking otherwise, by the rules they break now."""
    asked = request.together
    every = np.arange(len(books.snapshot.offers))
    alone = [rule for rule in rules if not rule.of_many and rule.asked(asked)]
    broken = np.zeros(len(every), dtype=np.int64)
    possible = np.ones(len(every), dtype=np.bool_)
    for bit, rule in enumerate(alone):
        breaks = ~rule.keeps(books, asked, every)
        broken |= breaks.astype(np.int64) << bit
        if rule.relaxing is None:
            possible &= ~breaks
    found: dict[tuple[Rule, ...], Places] = {}
    for bits in np.unique(broken[possible]).tolist():
        breaks_these = tuple(rule for bit, rule in enumerate(alone) if bits >> bit & 1)
        found[breaks_these] = np.flatnonzero(possible & (broken == bits))
    # What breaks no rule by itself is too little for a gang.
    enough, many = found.pop((), None), [rule for rule in rules if rule.of_many and rule.asked(asked)]
    if enough is not None and many:
        found[many[0],] = enough
    return found


def _relaxed(
    books: Books, request: Request, rules: Sequence[Rule], broken: tuple[Rule, ...], at: Places
) -> Change | None:
    """The request with each broken rule relaxed in turn, if offers match it then."""
    fields: dict[str, Relaxing] = {}
    instead = request
    for rule in broken:
        if rule.relaxing is None:
            return None
        changed = rule.relaxing.least(books, instead, at)
        if changed is None:
            return None
        fields[rule.relaxing.field] = rule.relaxing
        instead = changed
        at = at[rule.keeps(books, instead.together, at)]
        if len(at) == 0:
            return None
    offers = int(np.count_nonzero(sieve(books, instead, rules).suits))
    parts = ((field, relaxing.says(request), relaxing.says(instead)) for field, relaxing in fields.items())
    return Change(tuple(parts), instead, offers) if offers else None
