"""The engine of every machine: numpy on the CPU."""

from market.proof import arithmetic, philox
from market.proof.arithmetic import Fingerprints, Sums


class NumpyEngine:
    name = "numpy"

    def matrix(self, seed: bytes, size: int) -> philox.Entries:
        return philox.matrix(seed, size)

    def factor(self, whole: philox.Entries) -> philox.Entries:
        return whole

    def product(self, left: philox.Entries, right: philox.Entries) -> Sums:
        return arithmetic.product(left, right)

    def fingerprints(self, sums: Sums, seed: bytes) -> Fingerprints:
        return arithmetic.fingerprints(sums, arithmetic.column_keys(seed, sums.shape[1]))

    def multiprocessors(self) -> None:
        return None

    def copies(self) -> None:
        return None
