"""The port to what computes. Matrices and products stay where they are computed; fingerprints come back."""

from typing import Any, Protocol

from market.proof.arithmetic import Fingerprints


class Engine(Protocol):
    """name: for people. Handles are the engine's own; they live as long as they are referred to."""

    name: str

    def matrix(self, seed: bytes, size: int) -> Any:
        """The matrix of a seed (market.proof.philox), on the device."""
        ...

    def product(self, left: Any, right: Any) -> Any:
        """Its exact product, on the device."""
        ...

    def fingerprints(self, sums: Any, seed: bytes) -> Fingerprints:
        """One for each row, under the column keys of that seed; returns when they are computed."""
        ...


class EngineUnusable(Exception):
    """The engine is not there, has no device, or does not compute exactly."""
