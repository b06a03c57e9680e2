"""On a machine with NVIDIA GPUs: inventory and telemetry against nvidia-smi, and a proof of each card, verified here.

`make bench NAME=on_a_card` is what whoever has a card runs; its figures belong into docs/gpus.md. Each card is filled
and computes for some seconds: nothing else should run there. `--python` names an environment with CuPy or PyTorch
where the agent's own has neither.
"""

import argparse
import asyncio
import csv
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from market.measured import Measure, rate_in_words
from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, Challenge, draw
from market.proof.commitment import Opening
from market.proof.verification import Answer, Drawn, Fault, verify
from market.resources import GpuFacts
from provider_agent.gpus.nvml import open_nvml
from provider_agent.gpus.readings import GpuReading
from provider_agent.proving.process import ProofChild, ProofFailed
from scheduler.proofs.bands import band_of, memory_seconds_max
from scheduler.proofs.cards import card_of, contradictions
from scheduler.proofs.sizing import Extent, extent_for

ASKED = (
    "uuid", "index", "name", "memory.total", "compute_cap", "pci.bus_id", "pci.device_id", "power.limit",
    "driver_version", "temperature.gpu", "power.draw", "memory.used", "clocks.sm",
)  # fmt: skip
MIB = 2**20
NOT_TOLD = ("", "[N/A]", "N/A", "[Not Supported]")
SHARE_OFF, WATTS_OFF, DEGREES_OFF, MIB_OFF, MHZ_OFF = 0.15, 15.0, 4.0, 1024.0, 60.0
"""How far two looks a moment apart may lie from each other; what the driver reserves only one of them calls used."""

Told = Mapping[str, str]


@dataclass(frozen=True)
class Proven:
    """seconds: to the commit; memory_seconds: to the roots over what was kept. rates: by measure."""

    engine: str
    extent: Extent
    faults: Mapping[Fault, int]
    seconds: float
    memory_seconds: float
    verifier_cpu_seconds: float
    rates: Mapping[Measure, int]


def main() -> int:
    """Print what agrees, what does not and what was measured, and one JSON line. Returns 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, help="of an environment that has CuPy or PyTorch")
    options = parser.parse_args()
    gpus = open_nvml()
    facts, look = {each.uuid: each for each in gpus.facts()}, gpus.look()
    if not facts:
        print(f"nothing to measure: {gpus.note}")
        return 1
    told = {each["uuid"]: each for each in nvidia_smi()}
    wrong = [f"{uuid}: only one of the two sees it" for uuid in sorted(told.keys() ^ facts.keys())]
    cards = []
    for uuid in sorted(told.keys() & facts.keys(), key=lambda uuid: facts[uuid].index):
        wrong += disagreements(told[uuid], facts[uuid], look.by_uuid[uuid], gpus.driver_version)
        proven = _prove_or_say(facts[uuid], options.python, wrong)
        cards.append(
            {"model": facts[uuid].model, "driver": gpus.driver_version, **(_figures(proven) if proven else {})}
        )
    for line in wrong:
        print(f"WRONG  {line}")
    print(json.dumps({"name": "on_a_card", "wrong": len(wrong), "cards": cards}))
    return 1 if wrong else 0


def nvidia_smi() -> list[dict[str, str]]:
    """What NVIDIA's own tool says of each card, by its names. Raises OSError, CalledProcessError."""
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader,nounits"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return parse(text)


def parse(text: str) -> list[dict[str, str]]:
    """The rows of its answer."""
    return [dict(zip(ASKED, map(str.strip, row), strict=True)) for row in csv.reader(text.splitlines()) if row]


def disagreements(told: Told, facts: GpuFacts, reading: GpuReading, driver: str | None) -> Iterator[str]:
    """Where the agent and nvidia-smi differ: in what a card is exactly, in what changes by more than a moment may."""
    device_id = facts.pci_device_id
    exactly: dict[str, Any] = {
        "index": facts.index,
        "name": facts.model,
        "compute_cap": facts.compute_capability,
        "pci.bus_id": facts.pci_bus_id,
        "pci.device_id": None if device_id is None else f"0x{device_id:08X}",
        "driver_version": driver,
    }
    for name, ours in exactly.items():
        if told[name] not in NOT_TOLD and str(ours).lower() != told[name].lower():
            yield f"{facts.uuid}: {name} is {told[name]} by nvidia-smi, {ours} by the agent"
    pulse, limit = reading.pulse, facts.power_limit_milliwatts
    about: dict[str, tuple[float | None, float]] = {
        "memory.total": (facts.memory_bytes / MIB, 1.0),
        "power.limit": (None if limit is None else limit / 1000, 1.0),
        "temperature.gpu": (pulse.temperature_c, DEGREES_OFF),
        "power.draw": (None if pulse.power_milliwatts is None else pulse.power_milliwatts / 1000, WATTS_OFF),
        "memory.used": (None if pulse.memory_used_bytes is None else pulse.memory_used_bytes / MIB, MIB_OFF),
        "clocks.sm": (pulse.sm_clock_mhz, MHZ_OFF),
    }
    for name, (value, off) in about.items():
        if told[name] in NOT_TOLD:
            continue
        theirs = float(told[name])
        slack = off if name in ("memory.total", "power.limit") else max(off, SHARE_OFF * theirs)
        if value is None or abs(value - theirs) > slack:
            yield f"{facts.uuid}: {name} is {theirs:g} by nvidia-smi, {value} by the agent"


async def prove(device: str, extent: Extent, python: Path | None) -> Proven:
    """A challenge of that extent, from its nonce to its verification. Raises ProofFailed."""
    challenge = Challenge(
        "prf_here", "node_here", device, secrets.token_bytes(32), extent.size, extent.rounds, extent.kept
    )
    secret, memory_nonce, memory_secret = (secrets.token_bytes(32) for _ in range(3))
    fields = {
        name: getattr(challenge, name) for name in ("challenge_id", "node_id", "device", "size", "rounds", "kept")
    }
    async with ProofChild(device, python) as child:
        began = time.perf_counter()
        ran = await child.turn("run", nonce=challenge.nonce.hex(), **fields)
        committed = time.perf_counter()
        remembered = await child.turn("remember", memory_nonce=memory_nonce.hex())
        memory_seconds = time.perf_counter() - committed
        shown = await child.turn("show", secret=secret.hex(), memory_secret=memory_secret.hex())
        copied = (await child.turn("copy"))["speeds"]
    seconds, first = committed - began, extent.rounds - extent.kept
    drawn = Drawn(
        draw(secret, OPENED_PAIRS, extent.size, 0, extent.rounds),
        memory_nonce,
        draw(memory_secret, MEMORY_PAIRS, extent.size, first, extent.rounds) if extent.kept else (),
    )
    answer = Answer(
        _hashes(ran["roots"]),
        _openings(shown["openings"]),
        _hashes(remembered["roots"]),
        _openings(shown["memory_openings"]),
    )
    cpu = time.process_time()
    faults = verify(challenge, drawn, answer)
    rates = {Measure.MATRIX: round(challenge.operations / seconds)}
    if extent.kept:
        rates[Measure.MEMORY] = round(challenge.kept_bytes / memory_seconds)
    rates |= {Measure(name): value for name, value in copied.items()}
    return Proven(child.engine, extent, faults, seconds, memory_seconds, time.process_time() - cpu, rates)


def _prove_or_say(facts: GpuFacts, python: Path | None, wrong: list[str]) -> Proven | None:
    """Told in lines; what is wrong is added."""
    card = card_of(facts.model)
    print(f"{facts.uuid} {facts.model} ({facts.memory_bytes / 2**30:.1f} GiB)")
    doubts = contradictions(
        facts.model,
        facts.memory_bytes,
        facts.compute_capability,
        facts.power_limit_milliwatts,
        facts.pci_device_id,
    )
    wrong += [f"{facts.uuid}: {doubt}" for doubt in doubts]
    extent = extent_for(card, facts.memory_bytes, [], with_memory=True)
    try:
        proven = asyncio.run(prove(facts.uuid, extent, python))
    except ProofFailed as error:
        wrong.append(f"{facts.uuid}: no proof: {error}")
        return None
    challenge = Challenge("", "", facts.uuid, b"", extent.size, extent.rounds, extent.kept)
    limit, watts = memory_seconds_max(challenge, card), facts.power_limit_milliwatts
    band = band_of(card, [], None if watts is None else watts // 1000)
    rate = proven.rates[Measure.MATRIX]
    for measure, value in proven.rates.items():
        print(f"  {measure:<16}{rate_in_words(measure, value)}")
    print(f"  {proven.engine}, size {extent.size}, {extent.rounds} rounds, {extent.kept} kept: {proven.seconds:.2f} s")
    print(f"  memory read in {proven.memory_seconds * 1000:.0f} ms, allowed {(limit or 0) * 1000:.0f} ms")
    wrong += [f"{facts.uuid}: {fault.value} in {count} rows" for fault, count in proven.faults.items()]
    if (band.slowest and rate < band.slowest) or (band.fastest and rate > band.fastest):
        wrong.append(f"{facts.uuid}: {rate:.3g} operations a second lie outside {band}")
    if limit is not None and proven.memory_seconds > limit:
        wrong.append(f"{facts.uuid}: its memory was read in {proven.memory_seconds:.3f} s, {limit:.3f} s are allowed")
    return proven


def _figures(proven: Proven) -> dict[str, Any]:
    return {
        "engine": proven.engine,
        "faults": {fault.value: count for fault, count in proven.faults.items()},
        "seconds": round(proven.seconds, 3),
        "memory_seconds": round(proven.memory_seconds, 4),
        "verifier_cpu_seconds": round(proven.verifier_cpu_seconds, 2),
        **{measure.kind: value for measure, value in proven.rates.items()},
    }


def _hashes(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _openings(shown: list[dict[str, Any]]) -> list[Opening]:
    return [Opening(bytes.fromhex(each["leaf"]), tuple(_hashes(each["siblings"]))) for each in shown]


if __name__ == "__main__":
    sys.exit(main())
