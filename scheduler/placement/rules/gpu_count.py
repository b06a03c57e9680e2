"""A request's GPUs lie on one node, under one offer."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import GPU_COUNT, Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of that many GPUs, free or not."""
    return books.snapshot.numbers(GPU_COUNT)[at] >= (request.gpu.count if request.gpu else 0)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    most = int(books.snapshot.numbers(GPU_COUNT)[at].max())
    return request.with_gpu(count=most) if most else None


RULE = Rule(
    "gpu_count",
    Judges.OFFER,
    "with too few GPUs",
    keeps,
    lambda request: request.gpu is not None,
    Relaxing("gpu count", lambda request: str(request.gpu.count if request.gpu else 0), _least),
)
