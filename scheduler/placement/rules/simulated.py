"""Pretended GPUs are for those that ask for them, and for nobody else."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule
from scheduler.placement.snapshot import Column, Flags, Places

SIMULATED = Column(True, lambda node: node.simulated)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of simulated nodes, or of real ones."""
    simulated = books.snapshot.holds(SIMULATED, at)
    return simulated if request.simulated else ~simulated


RULE = Rule(
    "simulated",
    Judges.OFFER,
    "simulated, or not, against the request",
    keeps,
    lambda request: request.simulated is not None,
)
