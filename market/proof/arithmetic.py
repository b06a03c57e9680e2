"""The arithmetic that survives any order and any library but no loss: integer products held in FP32, and fingerprints.

|entry| ≤ 31 and size ≤ 16,384, so no partial sum reaches 2²⁴, the first integer whose successor FP32 cannot hold.
"""

import numpy as np
from numpy.typing import NDArray

from market.proof import philox
from market.proof.philox import Entries

SLAB_ROWS = 512
GOLDEN = 0x9E3779B97F4A7C15
Sums = NDArray[np.float32]
Fingerprints = NDArray[np.uint64]

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


def product(left: Entries, right: Entries) -> Sums:
    """left · right, exact: every value is an integer below 2²⁴."""
    return left.astype(np.float32) @ right.astype(np.float32)


def product_with_generated(left: Entries, seed: bytes, size: int) -> Sums:
    """left · B, where B is the matrix of a seed; B is made a slab at a time, so that memory stays small."""
    wide = left.astype(np.float32)
    total = np.zeros((len(left), size), dtype=np.float32)
    for start in range(0, size, SLAB_ROWS):
        end = min(size, start + SLAB_ROWS)
        total += wide[:, start:end] @ philox.rows(seed, size, range(start, end)).astype(np.float32)
    return total


def mix64(values: Fingerprints) -> Fingerprints:
    """SplitMix64's finalizer: a bijection of 64 bits that no sum of products can be pulled through."""
    values = (values ^ (values >> _SHIFTS[0])) * _FIRST
    values = (values ^ (values >> _SHIFTS[1])) * _SECOND
    return values ^ (values >> _SHIFTS[2])


def column_keys(seed: bytes, size: int) -> Fingerprints:
    """key_j: SplitMix64's stream from the seed's bytes 16 to 23."""
    start = np.frombuffer(seed[16:24], dtype="<u8").astype(np.uint64)
    return mix64(start + np.arange(size, dtype=np.uint64) * np.uint64(GOLDEN))


def fingerprints(sums: Sums, keys: Fingerprints) -> Fingerprints:
    """Of each row: Σ mix64(C_ij + key_j) modulo 2⁶⁴, C_ij in two's complement."""
    values: Fingerprints = sums.astype(np.int64).view(np.uint64) + keys
    folded: Fingerprints = mix64(values).sum(axis=1, dtype=np.uint64)
    return folded
