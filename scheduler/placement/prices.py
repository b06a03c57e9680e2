"""What offers ask of a request for a unit and hour, all in: the unit's own price, and what it takes beside its units.

This is the one price that everything else rests on: limits, bids and floors, the order of offers, what a lease freezes.
"""

from market.components import Components
from scheduler.placement.facts import OfferFacts
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Facet, Numbers, Places, Snapshot

_COMPONENTS = Facet(False, lambda offer: offer.components)


EVERY = slice(None)


def asked(snapshot: Snapshot, request: Request, at: Places | slice = EVERY) -> Numbers:
    """By these offers, before the request's discount. The array may be the snapshot's own: never write to it."""
    price = snapshot.price[at]
    if snapshot.all_are(_COMPONENTS, None):
        return price
    return price + snapshot.valued(_COMPONENTS, lambda prices: request.beside(prices) if prices else 0, at)


def paid(snapshot: Snapshot, request: Request, at: Places | slice = EVERY) -> Numbers:
    """What the request would pay, by these offers; as asked, after the discount."""
    return request.price_of(asked(snapshot, request, at))


def cheapest(snapshot: Snapshot, request: Request, at: Places) -> OfferFacts:
    """The one of these offers that asks least, of equal ones the first by its id; there must be one."""
    price_at: dict[int, int] = dict(zip(at.tolist(), asked(snapshot, request, at).tolist(), strict=True))
    return snapshot.offers[min(price_at, key=lambda place: (price_at[place], snapshot.offers[place].offer_id))]


def asked_by(offer: OfferFacts, request: Request) -> int:
    """By one offer, before the discount."""
    return offer.price_microusd_per_unit_hour + (request.beside(offer.components) if offer.components else 0)


def made_of(offer: OfferFacts, request: Request) -> Components | None:
    """What the price is made of; None where the unit's own price is all there is to it, or nothing is paid at all.

    A bid is told only where it is what is paid: what else somebody would have paid is nobody's business.
    """
    if offer.components is None or request.bid == 0:
        return None
    taken = (request.cpu_milli, request.memory_bytes, request.disk_bytes)
    bid = request.bid if request.bid < request.price_of(asked_by(offer, request)) else 0
    made = Components.of(offer.price_microusd_per_unit_hour, offer.components, taken, bid)
    return made if any(made.prices) else None
