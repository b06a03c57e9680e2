"""An offer of GPUs is not one of CPUs."""

from market.resources import Unit
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of the unit."""
    is_gpu = books.snapshot.is_gpu[at]
    return is_gpu if request.unit is Unit.GPU else ~is_gpu


RULE = Rule("unit", Judges.OFFER, "of another unit (GPU or CPU)", keeps, lambda request: request.unit is not None)
