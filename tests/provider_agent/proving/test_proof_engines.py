"""Every engine makes the same bytes: numpy here, PyTorch where it is installed, the CUDA text compiled for the CPU."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cupy_double import cupy_in

from market.proof import arithmetic, philox
from market.proof.challenge import Challenge, draw
from market.proof.verification import Answer, Drawn, verify
from provider_agent.proving import child
from provider_agent.proving.engines import choice, port
from provider_agent.proving.engines.cupy_engine import CupyEngine
from provider_agent.proving.engines.numpy_engine import NumpyEngine
from provider_agent.proving.engines.port import EngineUnusable
from provider_agent.proving.engines.torch_engine import TorchEngine
from provider_agent.proving.prover import Chain

SEED = bytes(range(7, 39))
SMALL_COPY = 4096


@pytest.fixture
def cupy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CupyEngine:
    """The engine of GPUs over a double of CuPy that runs the real kernels."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_in(tmp_path))
    monkeypatch.setattr("provider_agent.proving.engines.cupy_engine.COPY_BYTES", SMALL_COPY)
    monkeypatch.setattr(port, "COPY_BYTES", SMALL_COPY)
    return CupyEngine()


@pytest.mark.parametrize("size", [96, 320], ids=["fewer columns than threads", "more of them"])
def test_cupys_kernels_and_its_product_are_numpys(cupy: CupyEngine, size: int) -> None:
    numpy_engine = NumpyEngine()
    left, right = cupy.matrix(SEED, size), cupy.matrix(SEED[::-1], size)
    assert np.array_equal(left, philox.matrix(SEED, size))
    sums = cupy.product(left, cupy.factor(right))
    expected = numpy_engine.product(philox.matrix(SEED, size), philox.matrix(SEED[::-1], size))
    assert np.array_equal(sums, expected)
    assert np.array_equal(cupy.fingerprints(sums, SEED), numpy_engine.fingerprints(expected, SEED))


def test_a_gpu_is_given_cupy_where_it_computes_exactly(cupy: CupyEngine) -> None:
    assert choice.engine_for("GPU-1").name == "cupy"
    copied = cupy.copies()
    assert copied["pcie_to_device"] > 0 and copied["pcie_to_host"] > 0


def test_a_cupy_without_a_gpu_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_in(tmp_path, devices=0))
    with pytest.raises(EngineUnusable, match="CuPy sees no GPU"):
        CupyEngine()


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
@pytest.mark.parametrize("device", ["cpu", "GPU-1"])
def test_the_child_proves_what_the_verifier_asks(cupy: CupyEngine, device: str, rounds: int, kept: int) -> None:
    """Over its lines of JSON, as the agent speaks to it; on a GPU with CuPy."""
    asked = Challenge("prf_1", "node_1", "cpu", b"\x05" * 32, 96, rounds, kept)
    secret, memory_nonce, memory_secret = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
    fields = {name: getattr(asked, name) for name in ("challenge_id", "node_id", "device", "size", "rounds", "kept")}
    turns = [
        {"turn": "run", "nonce": asked.nonce.hex(), **fields},
        {"turn": "remember", "memory_nonce": memory_nonce.hex()},
        {"turn": "show", "secret": secret.hex(), "memory_secret": memory_secret.hex()},
    ]
    turns.append({"turn": "copy"})
    out = io.StringIO()
    assert child.main(device, [json.dumps(turn) for turn in turns], out) == 0
    engine, ran, remembered, shown, copied = (json.loads(line) for line in out.getvalue().splitlines())
    on_gpu = device != "cpu"
    assert engine == {"engine": cupy.name if on_gpu else "numpy"}
    assert copied["multiprocessors"] == (132 if on_gpu else None)
    assert set(copied["speeds"]) == ({"pcie_to_device", "pcie_to_host"} if on_gpu else set())

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
