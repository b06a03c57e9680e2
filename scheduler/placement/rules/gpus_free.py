"""No lease holds the GPUs that are asked for, or a slot is left that the organization's jobs share."""

from scheduler.placement.books import Books
from scheduler.placement.requests import WHOLE_MILLI, Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers with so many GPUs free."""
    return books.admits(request, at)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    most = int(books.whole[at].max())
    return request.with_gpu(count=most) if most and request.gpu_milli == WHOLE_MILLI else None


RULE = Rule(
    "gpus_free",
    Judges.ROOM,
    "whose GPUs are taken now",
    keeps,
    lambda request: request.gpu is not None,
    Relaxing("gpu count", lambda request: str(request.gpu.count if request.gpu else 0), _least),
)
