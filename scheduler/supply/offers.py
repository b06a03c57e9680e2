"""Offers as they are searched: what nodes ask, of whom, for what."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from market.components import ComponentPrices
from market.measured import Measure, rate_in_words
from market.resources import GpuRequest, Unit
from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.explain import explain
from scheduler.placement.requests import Request, Terms
from scheduler.placement.rules import RULES
from scheduler.placement.sieve import in_words, sieve
from scheduler.proofs import benchmarks
from scheduler.rounds import snapshots
from scheduler.tables import Offer

SEARCH_MAX = 200
EXA_OPERATIONS = 10**18
LISTED_RULES = tuple(rule for rule in RULES if rule.standing or rule.name == "online")


@dataclass(frozen=True, slots=True)
class OfferFilters:
    """None leaves open. price in micro-USDC for one unit and hour. verified: every device has proven itself.

    at_least: what was measured is that much a second, or more; what was never measured is not. discount_basis_points:
    off what is asked; prices, the highest too, are what is left.
    """

    unit: Unit | None = None
    gpu: GpuRequest | None = None
    price_max_microusd: int | None = None
    simulated: bool | None = None
    verified: bool = False
    at_least: Mapping[Measure, int] = field(default_factory=dict)
    discount_basis_points: int = 0


class OfferOrder(StrEnum):
    """price: of one unit and hour. work: of what it computes at its measured rate; unmeasured ones come last."""

    PRICE = "price"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class OfferRecord:
    """One node's offer, as market.customer_api.OfferView shows it; `measured` only where a search asks for it.

    The price is what its reader would pay, all in, for what was asked for; unit_price: of the unit by itself,
    components: of what is taken beside it.
    """

    offer_id: str
    node_id: str
    node_name: str
    provider_id: str
    unit: Unit
    model: str
    memory_bytes: int
    total_milli: int
    free_milli: int
    cpu_free_milli: int
    memory_free_bytes: int
    price_microusd_per_unit_hour: int
    unit_price_microusd_per_hour: int
    simulated: bool
    verified: bool
    components: ComponentPrices | None = None
    measured: Mapping[str, int] = field(default_factory=dict)

    @property
    def work_price_microusd(self) -> int | None:
        """Of 10¹⁸ operations at the matrix rate, rounded up; None where no rate was measured."""
        rate = self.measured.get(Measure.MATRIX.kind)
        return -(-self.price_microusd_per_unit_hour * EXA_OPERATIONS // (3600 * rate)) if rate else None


@dataclass(frozen=True, slots=True)
class OfferSurvey:
    """What a search found, how many offers each rule removed, and the same in words."""

    offers: list[OfferRecord]
    removed: dict[str, int]
    explanation: str


def search(
    session: Session, filters: OfferFilters, limit: int = SEARCH_MAX, order: OfferOrder = OfferOrder.PRICE
) -> list[OfferRecord]:
    """The offers of nodes that are heard now, cheapest first, free or not."""
    return survey(session, filters, limit, order).offers


def survey(
    session: Session, filters: OfferFilters, limit: int = SEARCH_MAX, order: OfferOrder = OfferOrder.PRICE
) -> OfferSurvey:
    """A search that also says what the rules removed, and how many were measured too slow or not at all."""
    books = Books(snapshots.load(session))
    wanted = Request(
        job_id="",
        unit=Unit.GPU if filters.gpu is not None else filters.unit,
        gpu=filters.gpu,
        cpu_milli=0,
        memory_bytes=0,
        disk_bytes=0,
        price_limit_microusd_per_unit_hour=filters.price_max_microusd,
        simulated=filters.simulated,
        terms=Terms(tier_min=int(filters.verified)),
        discount_basis_points=filters.discount_basis_points,
    )
    found = sieve(books, wanted, LISTED_RULES)
    suiting = cheapest_first(books, wanted, np.flatnonzero(found.suits).tolist(), len(books.snapshot.offers))
    limit = min(limit, SEARCH_MAX)
    if not filters.at_least and order is OfferOrder.PRICE:
        suiting = suiting[:limit]
    measured = benchmarks.of_offers(session, [(offer.node_id, offer.model) for offer in suiting])
    known = [replace(offer, measured=measured[offer.node_id, offer.model]) for offer in suiting]
    records = [offer for offer in known if _fast_enough(offer, filters.at_least)]
    if order is OfferOrder.WORK:
        records.sort(key=_dearest_work_last)
    removed, told = dict(found.removed), in_words(found.removed, len(books.snapshot.offers))
    if len(records) < len(known):
        removed["measured"] = len(known) - len(records)
        told = _of_speed(known, records, filters.at_least)
    elif not records:
        told = str(explain(books, wanted, LISTED_RULES))
    return OfferSurvey(records[:limit], removed, told)


def _fast_enough(offer: OfferRecord, at_least: Mapping[Measure, int]) -> bool:
    return all(offer.measured.get(measure.kind, 0) >= value for measure, value in at_least.items())


def _dearest_work_last(offer: OfferRecord) -> tuple[bool, int]:
    price = offer.work_price_microusd
    return price is None, price or 0


def _of_speed(known: Sequence[OfferRecord], left: Sequence[OfferRecord], at_least: Mapping[Measure, int]) -> str:
    """How many were too slow, and the best that was measured of each kind that was asked for."""
    best = {measure: max(offer.measured.get(measure.kind, 0) for offer in known) for measure in at_least}
    figures = [
        f"{measure} at {rate_in_words(measure, value)}" if value else f"{measure} of none yet"
        for measure, value in best.items()
    ]
    count = len(known) - len(left)
    return f"{count} of {len(known)} that match otherwise were measured slower, or not; at best: {', '.join(figures)}"


def cheapest_first(books: Books, request: Request, positions: Iterable[int], limit: int) -> list[OfferRecord]:
    """The offers at these positions at what the request would pay, cheapest first, those with more free before others
    of their price."""
    records = [_record(books, request, position) for position in positions]
    records.sort(key=lambda offer: (offer.price_microusd_per_unit_hour, -offer.free_milli, offer.offer_id))
    return records[:limit]


def of_node(session: Session, node_id: str) -> list[Offer]:
    """The standing offers of a node, GPUs before CPUs."""
    standing = select(Offer).where(Offer.node_id == node_id, Offer.ended_at.is_(None))
    return sorted(session.scalars(standing), key=lambda offer: (offer.unit is Unit.CPU, offer.model))


def _record(books: Books, request: Request, position: int) -> OfferRecord:
    snapshot = books.snapshot
    offer = snapshot.offers[position]
    node = snapshot.nodes[snapshot.node_of[position]]
    gpu = offer.unit is Unit.GPU
    return OfferRecord(
        offer_id=offer.offer_id,
        node_id=node.node_id,
        node_name=node.name,
        provider_id=node.provider_id,
        unit=offer.unit,
        model=offer.model,
        memory_bytes=offer.memory_bytes,
        total_milli=offer.gpu_count * 1000 if gpu else node.cpu_total_milli,
        free_milli=len(offer.free_gpus) * 1000 if gpu else node.cpu_free_milli,
        cpu_free_milli=node.cpu_free_milli,
        memory_free_bytes=node.memory_free_bytes,
        price_microusd_per_unit_hour=request.price_of(prices.asked_by(offer, request)),
        unit_price_microusd_per_hour=request.price_of(offer.price_microusd_per_unit_hour),
        simulated=node.simulated,
        verified=node.tier > 0,
        components=offer.components and ComponentPrices(*map(request.price_of, offer.components)),
    )
