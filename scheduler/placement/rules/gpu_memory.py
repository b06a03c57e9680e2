"""The memory of a GPU lies in the range that is asked for."""

from market.resources import SIZE_MAX_BYTES
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Places

GPU_MEMORY = Column(False, lambda offer: offer.memory_bytes)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers whose GPUs have that much, and no more."""
    memory = books.snapshot.numbers(GPU_MEMORY)[at]
    low, high = _range(request)
    within: Flags = (memory >= low) & (memory <= high)
    return within


def _least(books: Books, request: Request, at: Places) -> Request | None:
    """The range stretched to the nearest size."""
    if request.gpu is None:
        return None
    low, high = _range(request)
    sizes = books.snapshot.numbers(GPU_MEMORY)[at].tolist()
    nearest = min(sizes, key=lambda size: (max(low - size, size - high), size))
    return request.with_gpu(
        memory_min_bytes=request.gpu.memory_min_bytes and min(low, nearest),
        memory_max_bytes=request.gpu.memory_max_bytes and max(high, nearest),
    )


def _range(request: Request) -> tuple[int, int]:
    gpu = request.gpu
    low = gpu.memory_min_bytes if gpu else None
    high = gpu.memory_max_bytes if gpu else None
    return low or 0, SIZE_MAX_BYTES if high is None else high


def _says(request: Request) -> str:
    low, high = (request.gpu.memory_min_bytes, request.gpu.memory_max_bytes) if request.gpu else (None, None)
    return f"{_gigabytes(low)}..{_gigabytes(high)}"


def _gigabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e9:.4g}GB"


RULE = Rule(
    "gpu_memory",
    Judges.OFFER,
    "with another GPU memory",
    keeps,
    lambda request: (
        request.gpu is not None
        and (request.gpu.memory_min_bytes is not None or request.gpu.memory_max_bytes is not None)
    ),
    Relaxing("gpu memory", _says, _least),
)
