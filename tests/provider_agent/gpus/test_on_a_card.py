"""What is run on a real card finds what does not agree, and proves and verifies as the market does."""

import asyncio
from dataclasses import replace

import pytest

from benchmarks import on_a_card
from benchmarks.on_a_card import disagreements, parse, prove
from market.measured import Measure
from market.resources import GpuFacts
from provider_agent.gpus.readings import GpuReading, Pulse
from scheduler.proofs.sizing import Extent

UUID = "GPU-5c9e1f00-0000-4000-8000-000000000001"
TOLD = f"{UUID}, 0, NVIDIA H200, 143771, 9.0, 00000000:1A:00.0, 0x233510DE, 700.00, 570.124.06, 34, 78.51, 512, 345\n"
FACTS = GpuFacts(
    uuid=UUID,
    index=0,
    model="NVIDIA H200",
    memory_bytes=143771 * 2**20,
    compute_capability="9.0",
    pci_bus_id="00000000:1A:00.0",
    pci_device_id=0x233510DE,
    power_limit_milliwatts=700_000,
)
READING = GpuReading(
    UUID, 0, Pulse(temperature_c=35, power_milliwatts=81_000, memory_used_bytes=520 * 2**20, sm_clock_mhz=345)
)


def found(told: str = TOLD, facts: GpuFacts = FACTS, reading: GpuReading = READING) -> list[str]:
    [row] = parse(told)
    return [line.split(": ")[1].split(" is ")[0] for line in disagreements(row, facts, reading, "570.124.06")]


def test_two_looks_a_moment_apart_agree() -> None:
    assert found() == []
    assert found(TOLD.replace(" 34,", " [N/A],")) == [], "what the tool does not tell is not compared"


@pytest.mark.parametrize(
    ("facts", "pulse", "names"),
    [
        ({"model": "NVIDIA H100"}, {}, ["name"]),
        ({"pci_bus_id": "00000000:3B:00.0", "pci_device_id": None}, {}, ["pci.bus_id", "pci.device_id"]),
        ({"memory_bytes": 85 * 10**9, "power_limit_milliwatts": 350_000}, {}, ["memory.total", "power.limit"]),
        ({}, {"temperature_c": 60, "power_milliwatts": None}, ["temperature.gpu", "power.draw"]),
    ],
)
def test_what_differs_is_named(facts: dict[str, object], pulse: dict[str, object], names: list[str]) -> None:
    reading = replace(READING, pulse=replace(READING.pulse, **pulse))
    assert found(facts=FACTS.model_copy(update=facts), reading=reading) == names


def test_a_proof_is_run_and_verified_as_on_the_market() -> None:
    proven = asyncio.run(prove("cpu", Extent(64, 6, 2), None))
    assert (proven.engine, proven.faults) == ("numpy", {})
    assert set(proven.rates) == {Measure.MATRIX, Measure.MEMORY}


def test_where_there_is_no_card_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["on_a_card"])
    monkeypatch.setattr("provider_agent.gpus.nvml.LIBRARY", "libnothing-of-the-kind.so")
    assert on_a_card.main() == 1
    assert "nothing to measure: no NVIDIA driver here" in capsys.readouterr().out
