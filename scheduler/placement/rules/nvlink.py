"""GPUs that must be linked by NVLink are."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule, without_term
from scheduler.placement.snapshot import Column, Flags, Places

NVLINK = Column(False, lambda offer: offer.nvlink)


def keeps(books: Books, _: Request, at: Places) -> Flags:
    """Offers whose GPUs are linked."""
    return books.snapshot.holds(NVLINK, at)


RULE = Rule(
    "nvlink",
    Judges.OFFER,
    "without NVLink",
    keeps,
    lambda request: request.terms.nvlink,
    without_term("nvlink", lambda terms: "required" if terms.nvlink else "", nvlink=False),
)
