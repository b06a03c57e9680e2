"""Cheats that compute with fewer bits, and so faster than the arithmetic that is asked for."""

import numpy as np

from benchmarks.proof_cheats.honest import Honest
from market.proof import arithmetic, philox


class Fp8Inputs(Honest):
    """E4M3 inputs: four significant bits, twice the rate of FP16."""

    def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
        return _e4m3(left) @ _e4m3(right)


class Fp16Output(Honest):
    """Eleven significant bits of each sum."""

    def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
        return super().product(left, right).astype(np.float16).astype(np.float32)


class Bf16Output(Honest):
    """Eight significant bits of each sum: an FP32 number without its lower half."""

    def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
        bits = super().product(left, right).view(np.uint32)
        rounded: arithmetic.Sums = ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
        return rounded


def _e4m3(entries: philox.Entries) -> arithmetic.Sums:
    mantissa, exponent = np.frexp(entries.astype(np.float32))
    rounded: arithmetic.Sums = np.ldexp(np.round(mantissa * 16) / 16, exponent).astype(np.float32)
    return rounded
