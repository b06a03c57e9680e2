"""What does not fit together about a device has it audited earlier, and changes nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest
from proving_world import ProvingWorld
from sqlalchemy import select

from scheduler.proofs import doubts, standings
from scheduler.proofs.cards import busy_contradictions, contradictions
from scheduler.proofs.doubts import Minute
from scheduler.proofs.judgement import ProofState
from scheduler.tables import Gpu, GpuMinute

H100, GIB = "NVIDIA H100 80GB HBM3", 2**30
HOT_MINUTE = Minute(samples=60, power_milliwatts=600_000, energy_millijoules=59 * 600_000, clock_max_mhz=1980)


@pytest.mark.parametrize(
    ("model", "memory", "pci", "doubtful"),
    [
        (H100, 80 * GIB, 0x233010DE, False),
        (H100, 80 * GIB, 0x252010DE, True),
        (H100, 80 * GIB, 0x23301002, True),
        ("NVIDIA GeForce RTX 4090", 24 * GIB, 0x268410DE, False),
        ("NVIDIA GeForce RTX 4090", 24 * GIB, 0x250410DE, True),
        ("NVIDIA L40S", 48 * GIB, 0x26B910DE, False),
        ("A card of tomorrow", 1, 0x12345678, False),
    ],
)
def test_a_pci_device_is_of_the_chip_of_its_name(model: str, memory: int, pci: int, doubtful: bool) -> None:
    assert bool(contradictions(model, memory, None, None, pci)) is doubtful


@pytest.mark.parametrize(
    ("multiprocessors", "clock_mhz", "doubtful"),
    [(132, 1980, 0), (114, 1755, 0), (None, None, 0), (28, 1980, 1), (132, 2600, 1), (46, 2700, 2)],
)
def test_multiprocessors_and_clocks_are_those_of_the_name(
    multiprocessors: int | None, clock_mhz: int | None, doubtful: int
) -> None:
    assert len(busy_contradictions(H100, multiprocessors, clock_mhz)) == doubtful


@pytest.mark.parametrize(
    ("driver", "cuda", "doubtful"),
    [
        ("570.124.06", "12.8", False),
        ("535.183.01", "12.2", False),
        ("535.183.01", "12.8", False),
        ("570.124.06", "12.2", True),
        ("580.65.06", "12.9", True),
        (None, "12.2", False),
        ("570.124.06", None, False),
        ("of tomorrow", "12.2", False),
        ("390.157", "9.1", False),
    ],
)
def test_a_driver_brings_its_cuda_or_a_newer_one(driver: str | None, cuda: str | None, doubtful: bool) -> None:
    assert bool(doubts.of_driver(driver, cuda)) is doubtful


@pytest.mark.parametrize(
    ("minute", "count", "doubtful"),
    [
        (HOT_MINUTE, 30, False),
        (replace(HOT_MINUTE, energy_millijoules=59 * 150_000), 30, True),
        (replace(HOT_MINUTE, energy_millijoules=59 * 1_200_000), 30, True),
        (replace(HOT_MINUTE, energy_millijoules=0), 9, False),
        (replace(HOT_MINUTE, power_milliwatts=9_000, energy_millijoules=0), 30, False),
        (replace(HOT_MINUTE, energy_millijoules=None), 30, False),
        (replace(HOT_MINUTE, samples=5, energy_millijoules=0), 30, False),
    ],
    ids=["as it should", "a quarter", "twice", "too short a look", "idle", "not told", "seldom seen"],
)
def test_energy_is_power_times_time(minute: Minute, count: int, doubtful: bool) -> None:
    assert bool(doubts.of_energy([minute] * count)) is doubtful


def test_a_doubt_is_noted_with_a_proof_that_passed_and_the_next_audit_comes_earlier(proving: ProvingWorld) -> None:
    proving.measured(H100)
    node_id = proving.node(H100)
    proving.plan_when_due()
    [device] = proving.devices(node_id)
    proving.prove_all()
    assert proving.standing(node_id, device).suspicion == ""
    proving.pass_time(timedelta(hours=25).total_seconds())
    with proving.database.transaction() as session:
        gpu = session.scalars(select(Gpu)).one()
        since = proving.clock.now()
        session.add_all(
            GpuMinute(
                gpu_id=gpu.id,
                minute_at=since - timedelta(minutes=ago),
                samples=60,
                throttled_samples=0,
                power_milliwatts=[500_000, 600_000, 700_000],
                energy_millijoules=1_000_000,
                sm_clock_mhz=[345, 1500, 1980],
            )
            for ago in range(1, 30)
        )
    proving.plan()
    proving.prove_all()
    standing = proving.standing(node_id, device)
    assert standing.state is ProofState.VERIFIED, "a doubt proves nothing"
    assert standing.suspicion == "its energy counter ran at 0.03 of its power"
    assert standing.next_at is not None
    assert standing.next_at - proving.clock.now() <= standings.DOUBTED_EVERY
