"""Slices of cards (MIG) are for those that ask for their profile, whole cards for those that ask for none."""

from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Facet, Flags, Places

MIG = Facet(False, lambda offer: offer.mig)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of the profile."""
    return books.snapshot.where(MIG, lambda profile: profile == _profile(request), at)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    """What the cheapest of these offers is: another profile, or a whole card. Of slices a job gets one."""
    profile = prices.cheapest(books.snapshot, request, at).mig
    several = request.gpu is not None and request.gpu.count > 1
    return None if several and profile else request.with_gpu(mig=profile or None)


def _profile(request: Request) -> str:
    return (request.gpu and request.gpu.mig) or ""


RULE = Rule(
    "mig",
    Judges.OFFER,
    "with another MIG profile",
    keeps,
    lambda request: request.gpu is not None,
    Relaxing("gpu profile", lambda request: _profile(request) or "none", _least),
)
