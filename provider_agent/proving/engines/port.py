"""The port to what computes. Matrices and products stay where they are computed; fingerprints come back."""

import time
from collections.abc import Callable
from typing import Any, Protocol, TypedDict

from market.proof.arithmetic import Fingerprints

COPY_BYTES = 256 * 2**20
COPIES = 3


class Copies(TypedDict):
    """Bytes a second over PCIe, by the names of market.measured."""

    pcie_to_device: int
    pcie_to_host: int


class Engine(Protocol):
    """name: for people. Handles are the engine's own; they live as long as they are referred to."""

    name: str

    def matrix(self, seed: bytes, size: int) -> Any:
        """The matrix of a seed (market.proof.philox), on the device."""
        ...

    def factor(self, whole: Any) -> Any:
        """The same matrix as the right factor of many products, laid out as they are computed fastest."""
        ...

    def product(self, left: Any, right: Any) -> Any:
        """The exact product with a factor, on the device."""
        ...

    def fingerprints(self, sums: Any, seed: bytes) -> Fingerprints:
        """One for each row, under the column keys of that seed; returns when they are computed."""
        ...

    def multiprocessors(self) -> int | None:
        """How many the device has, as the runtime counts them."""
        ...

    def copies(self) -> Copies | None:
        """The best of a few copies of COPY_BYTES from pinned memory of the host and back; None: there is no way."""
        ...


class EngineUnusable(Exception):
    """The engine is not there, has no device, or does not compute exactly."""


def best_rate(copy: Callable[[], None]) -> int:
    """Bytes a second of the fastest of a few copies; the first one also warms the way up."""
    seconds = []
    for _ in range(COPIES + 1):
        began = time.perf_counter()
        copy()
        seconds.append(time.perf_counter() - began)
    return round(COPY_BYTES / max(min(seconds), 1e-9))
