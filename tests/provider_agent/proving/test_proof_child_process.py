"""The prover as a process: begun with its engine, ended with its proof, and never more than a reason when it cannot."""

import asyncio
from pathlib import Path

import pytest

from provider_agent.proving.process import ProofChild, ProofFailed

ASKED = {"challenge_id": "prf_1", "node_id": "node_1", "device": "cpu", "nonce": "00" * 32}


def test_it_computes_and_is_gone_afterwards() -> None:
    async def prove() -> tuple[str, int, int]:
        async with ProofChild("cpu") as child:
            ran = await child.turn("run", size=64, rounds=5, kept=1, **ASKED)
            assert child._process is not None
            return child.engine, len(ran["roots"]), child._process.pid

    engine, roots, pid = asyncio.run(prove())
    assert (engine, roots) == ("numpy", 5)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("device", "python", "why"),
    [
        ("GPU-of-another-world", None, "CuPy"),
        ("cpu", "/nowhere/bin/python", "No such file"),
        ("cpu", "/bin/false", "the prover ended"),
    ],
)
def test_what_cannot_begin_says_why(device: str, python: str | None, why: str) -> None:
    async def begin() -> None:
        async with ProofChild(device, Path(python) if python else None):
            pass

    with pytest.raises(ProofFailed, match=why):
        asyncio.run(begin())


@pytest.mark.parametrize("size", [40, 10**6], ids=["not a multiple of 32", "too large"])
def test_what_is_not_to_be_computed_ends_it(size: int) -> None:
    async def run() -> None:
        async with ProofChild("cpu") as child:
            await child.turn("run", size=size, rounds=1, kept=0, **ASKED)

    with pytest.raises(ProofFailed, match="ValueError"):
        asyncio.run(run())
