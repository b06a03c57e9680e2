"""Every engine makes the same bytes: numpy here, PyTorch where it is installed, the CUDA text compiled for the CPU."""

import ctypes
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from market.proof import arithmetic, philox
from market.proof.challenge import Challenge, draw
from market.proof.verification import Answer, Drawn, verify
from provider_agent.proving import child
from provider_agent.proving.engines import choice
from provider_agent.proving.engines.kernels import SOURCE
from provider_agent.proving.engines.numpy_engine import NumpyEngine
from provider_agent.proving.engines.port import EngineUnusable
from provider_agent.proving.engines.torch_engine import TorchEngine
from provider_agent.proving.prover import Chain

SEED = bytes(range(7, 39))
ON_A_CPU = r"""
#include <stdlib.h>
#define __global__
#define __device__ static
typedef struct { unsigned int x; } dim;
static dim blockIdx, blockDim = {1}, threadIdx = {0};
#define atomicAdd(place, value) (*(place) += (value))
"""
RUNNERS = r"""
void run_generate(signed char *out, u64 per_row, u64 blocks, u32 k0, u32 k1, u32 h0, u32 h1) {
    for (blockIdx.x = 0; blockIdx.x < blocks + 3; blockIdx.x++) generate(out, per_row, blocks, k0, k1, h0, h1);
}
void run_fingerprint(const int *sums, u64 *out, u64 rows, u64 size, u64 start) {
    for (blockIdx.x = 0; blockIdx.x < rows; blockIdx.x++) fingerprint(sums, out, size, start);
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernels as a library: one thread after the other."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder: Path = tmp_path_factory.mktemp("kernels")
    source = folder / "kernels.c"
    source.write_text(ON_A_CPU + SOURCE.replace('extern "C"', "") + RUNNERS)
    library = folder / "kernels.so"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


def test_the_cuda_generator_is_numpys(kernels: ctypes.CDLL) -> None:
    size = 96
    out = np.zeros((size, size), dtype=np.int8)
    words = [ctypes.c_uint32(int(word)) for word in np.frombuffer(SEED[:16], dtype="<u4")]
    per_row, blocks = ctypes.c_uint64(size // 16), ctypes.c_uint64(size * size // 16)
    kernels.run_generate(ctypes.c_void_p(out.ctypes.data), per_row, blocks, *words)
    assert np.array_equal(out, philox.matrix(SEED, size))


def test_the_cuda_fingerprint_is_numpys(kernels: ctypes.CDLL) -> None:
    size = 160
    sums = arithmetic.product(philox.matrix(SEED, size), philox.matrix(SEED[::-1], size))
    whole, out = sums.astype(np.int32), np.zeros(size, dtype=np.uint64)
    start = ctypes.c_uint64(int(np.frombuffer(SEED[16:24], dtype="<u8")[0]))
    kernels.run_fingerprint(
        ctypes.c_void_p(whole.ctypes.data),
        ctypes.c_void_p(out.ctypes.data),
        ctypes.c_uint64(size),
        ctypes.c_uint64(size),
        start,
    )
    assert np.array_equal(out, arithmetic.fingerprints(sums, arithmetic.column_keys(SEED, size)))


def test_torch_computes_what_numpy_computes() -> None:
    pytest.importorskip("torch", reason="PyTorch is no dependency")
    choice.check(TorchEngine("cpu"))


def test_an_engine_that_is_not_exact_is_not_used() -> None:
    class Rounded(NumpyEngine):
        name = "rounded"

        def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
            return super().product(left, right).astype(np.float16).astype(np.float32)

    class Broken(NumpyEngine):
        def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
            raise RuntimeError("CUDA error: no kernel image")

    with pytest.raises(EngineUnusable, match=r"rounded does not compute exactly here; .*no kernel image"):
        choice.engine_for("GPU-1", [Rounded, Broken])
    assert choice.engine_for("GPU-1", [Rounded, NumpyEngine]).name == "numpy"
    assert choice.engine_for("cpu").name == "numpy"


@pytest.mark.parametrize(("rounds", "kept"), [(1, 0), (5, 2), (4, 4)])
def test_the_child_proves_what_the_verifier_asks(rounds: int, kept: int) -> None:
    """Over its lines of JSON, as the agent speaks to it."""
    asked = Challenge("prf_1", "node_1", "cpu", b"\x05" * 32, 96, rounds, kept)
    secret, memory_nonce, memory_secret = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
    fields = {name: getattr(asked, name) for name in ("challenge_id", "node_id", "device", "size", "rounds", "kept")}
    turns = [
        {"turn": "run", "nonce": asked.nonce.hex(), **fields},
        {"turn": "remember", "memory_nonce": memory_nonce.hex()},
        {"turn": "show", "secret": secret.hex(), "memory_secret": memory_secret.hex()},
    ]
    out = io.StringIO()
    assert child.main("cpu", [json.dumps(turn) for turn in turns], out) == 0
    engine, ran, remembered, shown = (json.loads(line) for line in out.getvalue().splitlines())
    assert engine == {"engine": "numpy"}

    def openings(key: str) -> list[child.Opening]:
        return [
            child.Opening(bytes.fromhex(item["leaf"]), tuple(map(bytes.fromhex, item["siblings"])))
            for item in shown[key]
        ]

    drawn = Drawn(
        draw(secret, 256, 96, 0, rounds),
        memory_nonce,
        draw(memory_secret, 64, 96, rounds - kept, rounds) if kept else [],
    )
    roots, memory_roots = (list(map(bytes.fromhex, told["roots"])) for told in (ran, remembered))
    answer = Answer(roots, openings("openings"), memory_roots, openings("memory_openings"))
    assert verify(asked, drawn, answer) == {}


def test_a_chain_keeps_no_more_than_is_asked() -> None:
    chain = Chain(NumpyEngine(), Challenge("prf_1", "node_1", "cpu", bytes(32), 32, 9, 2))
    chain.run()
    assert [number for number, _, _ in chain._kept] == [7, 8]
    chain.remember(bytes(32))
    assert not chain._kept, "memory is given back as soon as it was read"


@pytest.mark.parametrize("line", ["{}", '{"turn": "show"}', "no json", '{"turn": "run", "nonce": "00"}'])
def test_the_child_says_what_failed_and_ends(line: str) -> None:
    out = io.StringIO()
    assert child.main("cpu", [line, line], out) == 1
    assert [set(json.loads(told)) for told in out.getvalue().splitlines()] == [{"engine"}, {"failed"}]
