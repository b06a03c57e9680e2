"""Quotes: what a job would get and what it can cost at most, before anything is charged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from infra.settings import settings
from market.errors import MarketError, NoOffer
from market.money import window_hold_microusd
from market.resources import Unit
from market.specs import JobSpec, Retry
from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.explain import explain
from scheduler.placement.requests import Request
from scheduler.placement.rules import STANDING_RULES
from scheduler.placement.sieve import price_in_words, sieve
from scheduler.placement.snapshot import Snapshot
from scheduler.rounds import discounts, snapshots
from scheduler.rounds.asking import request_of_spec
from scheduler.rounds.kept import KeptMarket
from scheduler.supply.offers import OfferRecord, cheapest_first

BEST_MAX = 10
NOTHING = Snapshot((), ())


@dataclass(frozen=True, slots=True)
class Plan:
    """offers: the best matching ones, cheapest first. expected price: of the cheapest that has room now, or that
    matches at all. highest_cost: nothing can make the job cost more. Prices are after the organization's discount."""

    offers: list[OfferRecord]
    offer_count: int
    unit: Unit
    quantity_milli: int
    price_limit_microusd_per_unit_hour: int
    expected_price_microusd_per_unit_hour: int | None
    highest_cost_microusd: int
    max_duration_seconds: int
    explanation: str
    discount_basis_points: int = 0
    minimum_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The units of a job, and the most that one of them may cost an hour."""

    unit: Unit
    quantity_milli: int
    price_limit_microusd_per_unit_hour: int


def plan(session: Session, spec: JobSpec, organization_id: str) -> Plan:
    """The plan of one job. Raises NoOffer, with what each rule removed, when nothing matches and no price is named."""
    answer = plans(session, [(spec, organization_id)])[0]
    if isinstance(answer, MarketError):
        raise answer
    return answer


def plans(session: Session, wanted: Sequence[tuple[JobSpec, str]]) -> list[Plan | NoOffer]:
    """The plans of many jobs (specification, organization id) from one look at the market.

    Offers match by what they are, free or not. Without a highest price the dearest matching offer's price is the
    limit; with one, a job that nothing matches is planned too: it waits.
    """
    books = Books(snapshots.load(session))
    less = discounts.of(session, {organization_id for _, organization_id in wanted})
    return [_plan(books, spec, less.get(organization_id, 0)) for spec, organization_id in wanted]


class StandingOffers:
    """The market as limits go by it, kept from one look to the next. For one thread."""

    def __init__(self) -> None:
        self._market, self._seen = KeptMarket(), NOTHING
        self._books = Books(NOTHING)

    def look(self, session: Session) -> Books:
        """As it is now, but for what is free."""
        snapshot = self._market.read(session)
        changes, self._seen = snapshot.changes_since(self._seen), snapshot
        if changes is None or changes.lasting:
            self._books = Books(snapshot)
        return self._books


def limits(
    session: Session, wanted: Sequence[tuple[JobSpec, str]], offers: StandingOffers | None = None
) -> list[Limit | NoOffer]:
    """What each job may cost an hour, from one look at the market: none where every job names its highest price."""
    open_ended = {organization_id for spec, organization_id in wanted if spec.budget.max_price is None}
    books = (offers or StandingOffers()).look(session) if open_ended else Books(NOTHING)
    less = discounts.of(session, open_ended) if open_ended else {}
    return [_limit(books, spec, less.get(organization_id, 0)) for spec, organization_id in wanted]


def highest_cost(limit: Limit, max_duration_seconds: int, retry: Retry, max_total_microusd: int | None) -> int:
    """Nothing makes the job cost more. Each attempt that itself or its customer ends may owe the minimum."""
    owing = retry.max_attempts if "failure" in retry.on else 1
    seconds = max_duration_seconds + owing * settings().minimum_seconds
    most = window_hold_microusd(limit.quantity_milli, seconds * 1000, limit.price_limit_microusd_per_unit_hour)
    return most if max_total_microusd is None else min(most, max_total_microusd)


def _plan(books: Books, spec: JobSpec, discount_basis_points: int) -> Plan | NoOffer:
    request = request_of_spec(spec, spec.budget.max_price, discount_basis_points)
    positions = np.flatnonzero(sieve(books, request, STANDING_RULES).suits)
    explanation = str(explain(books, request, STANDING_RULES)) if len(positions) == 0 else ""
    if spec.budget.max_price is not None:
        limit = spec.budget.max_price
    elif len(positions):
        limit = int(prices.paid(books.snapshot, request, positions).max())
    else:
        return _no_offer(explanation)
    unit = request.unit or Unit.CPU
    return Plan(
        offers=cheapest_first(books, request, positions.tolist(), BEST_MAX),
        offer_count=len(positions),
        unit=unit,
        quantity_milli=spec.quantity_milli,
        price_limit_microusd_per_unit_hour=limit,
        expected_price_microusd_per_unit_hour=_expected(books, request, len(positions)),
        highest_cost_microusd=highest_cost(
            Limit(unit, spec.quantity_milli, limit), spec.max_duration, spec.retry, spec.budget.max_total
        ),
        max_duration_seconds=spec.max_duration,
        explanation=f"no offer matches yet: {explanation}; it waits for one at {price_in_words(limit, unit)} or less"
        if explanation
        else "",
        discount_basis_points=discount_basis_points,
        minimum_seconds=settings().minimum_seconds,
    )


def _limit(books: Books, spec: JobSpec, discount_basis_points: int) -> Limit | NoOffer:
    request = request_of_spec(spec, spec.budget.max_price, discount_basis_points)
    unit = request.unit or Unit.CPU
    if spec.budget.max_price is not None:
        return Limit(unit, spec.quantity_milli, spec.budget.max_price)
    found = sieve(books, request, STANDING_RULES)
    if not found.suits.any():
        return _no_offer(str(explain(books, request, STANDING_RULES)))
    dearest = int(prices.paid(books.snapshot, request, np.flatnonzero(found.suits)).max())
    return Limit(unit, spec.quantity_milli, dearest)


def _no_offer(explanation: str) -> NoOffer:
    return NoOffer(
        f"no offer matches this job: {explanation}",
        remedy="change its resources, or name budget.max_price to wait for an offer",
    )


def _expected(books: Books, request: Request, matching: int) -> int | None:
    """The cheapest price among the offers with room now; among all that match, when none has."""
    if matching == 0:
        return None
    free = sieve(books, request).suits
    suits = free if free.any() else sieve(books, request, STANDING_RULES).suits
    return min(int(prices.paid(books.snapshot, request, np.flatnonzero(suits)).min()), request.bid)
