"""Devices that are cut into MIG profiles are for those that ask for the profile, whole ones for those that do not."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule, without_term
from scheduler.placement.snapshot import Facet, Flags, Places

MIG = Facet(False, lambda offer: offer.mig)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of the profile."""
    return books.snapshot.where(MIG, lambda profile: profile == request.terms.mig, at)


RULE = Rule(
    "mig",
    Judges.OFFER,
    "with another MIG profile",
    keeps,
    lambda request: request.gpu is not None,
    without_term("mig", lambda terms: terms.mig, mig=""),
)
