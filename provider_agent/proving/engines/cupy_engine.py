"""CuPy: cuBLAS for INT8 products with INT32 sums, and kernels that touch device memory once."""

import importlib
from typing import Any

import numpy as np

from market.proof.arithmetic import Fingerprints
from market.proof.philox import ENTRIES_PER_BLOCK
from provider_agent.proving.engines.kernels import SOURCE
from provider_agent.proving.engines.port import COPY_BYTES, Copies, EngineUnusable, best_rate

THREADS = 256
CUDA_R_8I, CUDA_R_32I = 3, 10
CUBLAS_OP_N, CUBLAS_OP_T, CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT = 0, 1, 72, -1


class CupyEngine:
    """The first device that the process sees."""

    name = "cupy"

    def __init__(self) -> None:
        try:
            self._cupy: Any = importlib.import_module("cupy")
            devices = self._cupy.cuda.runtime.getDeviceCount()
        except Exception as error:  # A CUDA that does not fit raises whatever it likes.
            raise EngineUnusable(f"CuPy is not here, or sees no GPU: {error}") from None
        if not devices:
            raise EngineUnusable("CuPy sees no GPU")
        module = self._cupy.RawModule(code=SOURCE)
        self._generate, self._fingerprint = (module.get_function(name) for name in ("generate", "fingerprint"))
        self._one, self._zero = np.array(1, dtype=np.int32), np.array(0, dtype=np.int32)

    def matrix(self, seed: bytes, size: int) -> Any:
        cupy = self._cupy
        whole = cupy.empty((size, size), dtype=cupy.int8)
        per_row = size // ENTRIES_PER_BLOCK
        blocks = size * per_row
        words = [np.uint32(word) for word in np.frombuffer(seed[:16], dtype="<u4")]
        grid = (blocks + THREADS - 1) // THREADS
        self._generate((grid,), (THREADS,), (whole, np.uint64(per_row), np.uint64(blocks), *words))
        return whole

    def factor(self, whole: Any) -> Any:
        """Transposed: cuBLAS has tensor core kernels for INT8 in the layout TN alone."""
        return self._cupy.ascontiguousarray(whole.T)

    def product(self, left: Any, right: Any) -> Any:
        """Row by row what cuBLAS computes column by column: (A·B)ᵗ = Bᵗ·Aᵗ. right: as `factor` lays it out."""
        cupy = self._cupy
        size = left.shape[0]
        sums = cupy.empty((size, size), dtype=cupy.int32)
        cupy.cuda.cublas.gemmEx(
            cupy.cuda.device.get_cublas_handle(),
            CUBLAS_OP_T,
            CUBLAS_OP_N,
            size,
            size,
            size,
            self._one.ctypes.data,
            right.data.ptr,
            CUDA_R_8I,
            size,
            left.data.ptr,
            CUDA_R_8I,
            size,
            self._zero.ctypes.data,
            sums.data.ptr,
            CUDA_R_32I,
            size,
            CUBLAS_COMPUTE_32I,
            CUBLAS_GEMM_DEFAULT,
        )
        return sums

    def fingerprints(self, sums: Any, seed: bytes) -> Fingerprints:
        cupy = self._cupy
        size = sums.shape[1]
        found = cupy.zeros(sums.shape[0], dtype=cupy.uint64)
        start = np.frombuffer(seed[16:24], dtype="<u8")[0]
        self._fingerprint((sums.shape[0],), (THREADS,), (sums, found, np.uint64(size), np.uint64(start)))
        told: Fingerprints = found.get()
        return told

    def multiprocessors(self) -> int:
        return int(self._cupy.cuda.Device().attributes["MultiProcessorCount"])

    def copies(self) -> Copies:
        cupy = self._cupy
        pinned = cupy.cuda.alloc_pinned_memory(COPY_BYTES)
        host = np.frombuffer(pinned, dtype=np.uint8, count=COPY_BYTES)
        device = cupy.empty(COPY_BYTES, dtype=cupy.uint8)

        def to_device() -> None:
            device.set(host)
            cupy.cuda.runtime.deviceSynchronize()

        def to_host() -> None:
            device.get(out=host)

        return {"pcie_to_device": best_rate(to_device), "pcie_to_host": best_rate(to_host)}
