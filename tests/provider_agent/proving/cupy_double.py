"""A double of what the engine calls of CuPy: arrays in the host's memory, our CUDA text compiled for the CPU, and a
cuBLAS of one call, which is strict about what the real one asks for.

Signatures are those of CuPy 14 (cupy_backends/cuda/libs/cublas: gemmEx; cupy.RawModule; cupy.ndarray.set, get).
"""

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from tools import tool

ON_A_CPU = r"""
#define __global__
#define __device__ static
typedef struct { unsigned int x; } dim;
static dim blockIdx, blockDim, threadIdx;
#define atomicAdd(place, value) (*(place) += (value))
"""
# One thread after the other: no kernel of ours waits for another thread.
LAUNCHERS = r"""
#define EACH_THREAD(call) for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) \
    for (blockDim.x = block, threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) call
void launch_generate(u32 grid, u32 block, signed char *out, u64 per_row, u64 blocks, u32 k0, u32 k1, u32 h0, u32 h1) {
    EACH_THREAD(generate(out, per_row, blocks, k0, k1, h0, h1));
}
void launch_fingerprint(u32 grid, u32 block, const int *sums, u64 *out, u64 size, u64 start) {
    EACH_THREAD(fingerprint(sums, out, size, start));
}
"""
PARAMETERS: dict[str, Sequence[type]] = {
    "generate": (np.int8, np.uint64, np.uint64, np.uint32, np.uint32, np.uint32, np.uint32),
    "fingerprint": (np.int32, np.uint64, np.uint64, np.uint64),
}
"""By kernel: of an array what it holds, of a number its type, which is how CuPy passes numpy's numbers."""


class Array(np.ndarray):
    """cupy.ndarray, as far as the engine knows it."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)

    def get(self, out: np.ndarray | None = None) -> np.ndarray:
        if out is None:
            return np.array(self)
        out[...] = self
        return out

    def set(self, array: np.ndarray) -> None:
        assert array.dtype == self.dtype
        self[...] = array


def compiled(source: str, folder: Path) -> ctypes.CDLL:
    """CUDA C as a library of the host's."""
    path = folder / "kernels.c"
    path.write_text(ON_A_CPU + source.replace('extern "C"', "") + LAUNCHERS)
    library = folder / "kernels.so"
    command = [tool("gcc", "cc"), "-O2", "-Wall", "-Werror", "-shared", "-fPIC", path, "-o", library]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def cupy_in(folder: Path, devices: int = 1) -> ModuleType:
    """The module. folder: where kernels are compiled."""

    class RawModule:
        def __init__(self, *, code: str) -> None:
            self._library = compiled(code, folder)

        def get_function(self, name: str) -> Callable[..., None]:
            launcher, types = self._library[f"launch_{name}"], PARAMETERS[name]

            def launch(grid: tuple[int], block: tuple[int], args: Sequence[Any]) -> None:
                given = [each.dtype.type if isinstance(each, np.ndarray) else type(each) for each in args]
                assert given == list(types), f"{name} is given {given}"
                launcher(*(ctypes.c_uint32(size) for (size,) in (grid, block)), *map(_as_c, args))

            return launch

    cupy: Any = ModuleType("cupy")
    for kind in ("int8", "uint8", "int32", "uint64"):
        setattr(cupy, kind, getattr(np, kind))
    cupy.empty = lambda shape, dtype: np.full(shape, 77, dtype).view(Array)
    cupy.zeros = lambda shape, dtype: np.zeros(shape, dtype).view(Array)
    cupy.ascontiguousarray = lambda array: np.ascontiguousarray(array).view(Array)
    cupy.RawModule = RawModule
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=lambda: devices, deviceSynchronize=lambda: None),
        device=SimpleNamespace(get_cublas_handle=lambda: 4711),
        cublas=SimpleNamespace(gemmEx=gemm_ex),
        alloc_pinned_memory=bytearray,
        Device=lambda: SimpleNamespace(attributes={"MultiProcessorCount": 132}),
    )
    module: ModuleType = cupy
    return module


def _as_c(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return (ctypes.c_uint32 if isinstance(value, np.uint32) else ctypes.c_uint64)(int(value))


def gemm_ex(
    handle: int, transa: int, transb: int, m: int, n: int, k: int, alpha: int, a: int, a_type: int, lda: int,
    b: int, b_type: int, ldb: int, beta: int, c: int, c_type: int, ldc: int, compute_type: int, algo: int,
) -> None:  # fmt: skip
    """C = alpha · op(A) · op(B) + beta · C, all column by column, and only as tensor cores take INT8: TN, by fours."""
    assert (handle, transa, transb, a_type, b_type, c_type, compute_type, algo) == (4711, 1, 0, 3, 3, 10, 72, -1)
    assert all(size % 4 == 0 for size in (m, k, lda, ldb, ldc, a, b, c)), "not aligned"
    assert (lda, ldb, ldc) == (k, k, m)
    one, zero = (int(_columns(place, 1, 1, np.int32)[0, 0]) for place in (alpha, beta))
    left, right = _columns(a, k, m, np.int8).T, _columns(b, k, n, np.int8)
    out = _columns(c, m, n, np.int32)
    out[...] = one * (left.astype(np.int32) @ right.astype(np.int32)) + zero * out


def _columns(place: int, rows: int, columns: int, kind: type) -> np.ndarray:
    """What lies there, as a matrix that is stored column by column."""
    size = rows * columns * np.dtype(kind).itemsize
    flat = np.frombuffer((ctypes.c_char * size).from_address(place), dtype=kind)
    return flat.reshape((rows, columns), order="F")
