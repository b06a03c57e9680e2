"""PyTorch: INT8 products with INT32 sums; generator and fingerprints in its 64-bit integers, which wrap as C's do.

Its element-wise passes read and write device memory many times over; CuPy's kernels do not (cupy_engine.py).
"""

import importlib
from typing import Any

import numpy as np

from market.proof.arithmetic import GOLDEN, Fingerprints
from market.proof.challenge import ENTRY_MAX
from market.proof.philox import ENTRIES_PER_BLOCK, ROUNDS
from provider_agent.proving.engines.port import COPY_BYTES, Copies, EngineUnusable, best_rate

CHUNK_ENTRIES = 1 << 24
_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


class TorchEngine:
    """device: as PyTorch names it."""

    name = "torch"

    def __init__(self, device: str = "cuda") -> None:
        try:
            self._torch: Any = importlib.import_module("torch")
        except (ImportError, OSError) as error:
            raise EngineUnusable(f"PyTorch is not here: {error}") from None
        if device == "cuda" and not self._torch.cuda.is_available():
            raise EngineUnusable("PyTorch sees no GPU")
        self._device = device

    def matrix(self, seed: bytes, size: int) -> Any:
        torch = self._torch
        words = np.frombuffer(seed[:16], dtype="<u4").tolist()
        blocks = size // ENTRIES_PER_BLOCK
        whole = torch.empty((size, size), dtype=torch.int8, device=self._device)
        step = max(1, CHUNK_ENTRIES // size)
        columns = torch.arange(blocks, dtype=torch.int64, device=self._device).reshape(1, -1)
        shifts = torch.arange(0, 32, 8, dtype=torch.int64, device=self._device)
        for start in range(0, size, step):
            end = min(size, start + step)
            rows = torch.arange(start, end, dtype=torch.int64, device=self._device).reshape(-1, 1)
            stream = torch.stack(self._philox(columns, rows, words), dim=-1)
            octets = (stream.unsqueeze(-1) >> shifts) & 0xFF
            entries = (octets * (2 * ENTRY_MAX + 1) >> 8) - ENTRY_MAX
            whole[start:end] = entries.reshape(end - start, size).to(torch.int8)
        return whole

    def factor(self, whole: Any) -> Any:
        """Column by column: cuBLAS has tensor core kernels for INT8 in that layout alone."""
        return whole.t().contiguous().t()

    def product(self, left: Any, right: Any) -> Any:
        return self._torch._int_mm(left, right)

    def fingerprints(self, sums: Any, seed: bytes) -> Fingerprints:
        torch = self._torch
        size = sums.shape[1]
        start = int.from_bytes(seed[16:24], "little")
        places = torch.arange(size, dtype=torch.int64, device=self._device)
        keys = _mix64(places * _signed(GOLDEN) + _signed(start))
        step = max(1, CHUNK_ENTRIES // size)
        parts = [_mix64(part.to(torch.int64) + keys).sum(dim=1) for part in sums.split(step)]
        found: Fingerprints = torch.cat(parts).cpu().numpy().view(np.uint64)
        return found

    def multiprocessors(self) -> int | None:
        if self._device == "cpu":
            return None
        return int(self._torch.cuda.get_device_properties(self._device).multi_processor_count)

    def copies(self) -> Copies | None:
        torch = self._torch
        if self._device == "cpu":
            return None
        host = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True)
        device = torch.empty(COPY_BYTES, dtype=torch.uint8, device=self._device)

        def copy(to: Any, source: Any) -> None:
            to.copy_(source, non_blocking=True)
            torch.cuda.synchronize()

        return {
            "pcie_to_device": best_rate(lambda: copy(device, host)),
            "pcie_to_host": best_rate(lambda: copy(host, device)),
        }

    def _philox(self, columns: Any, rows: Any, words: list[int]) -> list[Any]:
        key0, key1, high0, high1 = words
        blank = self._torch.zeros_like(columns + rows)
        c0, c1, c2, c3 = blank + columns, blank + rows, blank + high0, blank + high1
        for _ in range(ROUNDS):
            product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
            c0 = ((product1 >> 32) & _LOW) ^ c1 ^ key0
            c2 = ((product0 >> 32) & _LOW) ^ c3 ^ key1
            c1, c3 = product1 & _LOW, product0 & _LOW
            key0, key1 = (key0 + _WEYL[0]) & _LOW, (key1 + _WEYL[1]) & _LOW
        return [c0, c1, c2, c3]


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _mix64(values: Any) -> Any:
    """SplitMix64's finalizer; a shift of a signed number is made one of an unsigned by a mask."""
    values = (values ^ ((values >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    values = (values ^ ((values >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return values ^ ((values >> 31) & (2**33 - 1))
