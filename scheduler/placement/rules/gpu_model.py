"""A request that names a model gets cards whose name has those words."""

from market.resources import GpuRequest, gpu_matches
from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import IS_GPU, Facet, Flags, Places

MODEL = Facet(False, lambda offer: offer.model)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """GPU offers of the model."""
    is_gpu = books.snapshot.holds(IS_GPU, at)
    if request.gpu is None or request.gpu.model is None:
        return is_gpu
    wanted = GpuRequest(count=1, model=request.gpu.model)
    return is_gpu & books.snapshot.where(MODEL, lambda model: gpu_matches(wanted, model, 0), at)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    """Another model: that of the cheapest of these offers."""
    at = at[books.snapshot.is_gpu[at]]
    if request.gpu is None or request.gpu.model is None or len(at) == 0:
        return None
    return request.with_gpu(model=prices.cheapest(books.snapshot, request, at).model)


RULE = Rule(
    "gpu_model",
    Judges.OFFER,
    "with another GPU model",
    keeps,
    lambda request: request.gpu is not None,
    Relaxing("gpu model", lambda request: (request.gpu and request.gpu.model) or "any", _least),
)
