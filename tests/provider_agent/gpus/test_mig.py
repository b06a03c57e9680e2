"""Cards that are cut (MIG), as the real NVML binding shows them over a compiled fake driver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_driver import FakeDriver, Looker, build, looking, slice_uuid, uuid_of

from market.health import ADVICE, HealthCode

CUT = ("0.mig 1", "0.slices 2", "0/1.profile 3g.40gb")
ONE, OTHER, WHOLE = slice_uuid(0, 0), slice_uuid(0, 1), uuid_of(1)


@pytest.fixture
def cut(driver: FakeDriver) -> FakeDriver:
    """Card 0 cut into 1g.10gb and 3g.40gb, card 1 whole."""
    driver.open_slices("gpu190/gi1", "gpu190/gi2")
    driver.say(*CUT)
    return driver


@pytest.fixture
def looker(cut: FakeDriver) -> Iterator[Looker]:
    with looking(cut) as looker:
        yield looker


def codes(found: dict[str, Any]) -> dict[str, set[str]]:
    """What stands against whom."""
    against: dict[str, set[str]] = {}
    for condition in found["conditions"]:
        against.setdefault(condition["gpu_uuid"] or "", set()).add(condition["code"])
    return against


def test_each_slice_is_a_device_and_its_card_is_not_offered(looker: Looker) -> None:
    found = looker.look(12)
    assert [fact["uuid"] for fact in found["facts"]] == [ONE, OTHER, WHOLE]
    assert found["note"] == "3 GPUs (2 of them MIG slices), driver 570.124.06"
    assert found["facts"][1] == {
        "uuid": OTHER,
        "index": 0,
        "model": "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
        "memory_bytes": 40_000_000_000,
        "compute_capability": "9.0",
        "pci_bus_id": "00000000:00:00.0",
        "pci_device_id": 0x233010DE,
        "power_limit_milliwatts": None,
        "ecc": True,
        "mig": True,
        "mig_profile": "3g.40gb",
        "nvlinks": None,
    }
    assert found["conditions"] == [], "the memory of a slice is not that of a card of its name, and contradicts nothing"


def test_a_slice_is_opened_by_its_cards_file_and_its_own_two(looker: Looker) -> None:
    assert looker.look()["files"] == [
        "/dev/nvidia190",
        "/dev/nvidia-caps/nvidia-cap0",
        "/dev/nvidia-caps/nvidia-cap1",
        "/dev/nvidia-caps/nvidia-cap10",
        "/dev/nvidia-caps/nvidia-cap11",
        "/dev/nvidia191",
    ]


def test_what_nobody_tells_of_a_slice_is_unknown_and_not_0(cut: FakeDriver, looker: Looker) -> None:
    cut.say(*CUT, "*.busy 50", "*.power 300000", "0/0.memory_used 1048576", "0.temperature 61", "0.ecc_corrected 3")
    found = looker.look(70)
    reading = found["readings"][ONE]
    assert [reading["pulse"][name] for name in ("busy_percent", "power_milliwatts", "energy_millijoules")] == [None] * 3
    assert reading["checkup"]["power_limit_milliwatts"] is None
    assert reading["pulse"]["memory_used_bytes"] == 1048576, "its own memory"
    assert (reading["pulse"]["temperature_c"], reading["checkup"]["ecc_corrected"]) == (61, 3), "its card's"
    assert ONE not in found["busy_ms"] or found["busy_ms"][ONE] == 0
    minute = next(each for each in found["minute"] if each["gpu_uuid"] == ONE)
    assert (minute["busy_percent"], minute["power_milliwatts"], minute["energy_millijoules"]) == (None, None, None)
    assert not any("POWER" in name or "ENERGY" in name or "GPU_UTIL" in name for name in found["dcgm"][ONE])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("0.temperature 91", HealthCode.TOO_HOT),
        ("0.ecc_uncorrected 2", HealthCode.ECC_UNCORRECTED),
        ("0.lost 1", HealthCode.GPU_LOST),
    ],
)
def test_what_stands_against_a_card_stands_against_all_its_slices(
    cut: FakeDriver, looker: Looker, line: str, code: HealthCode
) -> None:
    looker.look(12)
    cut.say(line, *CUT)
    assert codes(looker.look(24, 5.0)) == {ONE: {code}, OTHER: {code}}


@pytest.mark.parametrize(("instance", "hit"), [("event.instance 2", {OTHER}), ("event.instance 9", {ONE, OTHER})])
def test_a_fault_is_of_the_slice_that_it_names_or_of_all(
    cut: FakeDriver, looker: Looker, instance: str, hit: set[str]
) -> None:
    looker.look(12)
    cut.say("event 1", "event.gpu 0", "event.xid 94", instance, *CUT)
    assert codes(looker.look(2)) == {uuid: {HealthCode.XID_RECENT} for uuid in hit}


def test_a_card_that_is_cut_otherwise_retires_what_is_gone_and_offers_the_rest_after_a_restart(
    cut: FakeDriver, looker: Looker
) -> None:
    looker.look(12)
    cut.open_slices("gpu190/gi1", "gpu190/gi5")
    cut.say("0/1.instance 5", "0/1.uuid MIG-anew", *CUT)
    found = looker.look(24, 5.0)
    assert [fact["uuid"] for fact in found["facts"]] == [ONE, "MIG-anew", WHOLE]
    assert codes(found) == {OTHER: {HealthCode.MIG_MODE}, "MIG-anew": {HealthCode.NOT_IN_POOL}}
    assert ADVICE[HealthCode.MIG_MODE].quarantines
    assert "restart the agent" in ADVICE[HealthCode.MIG_MODE].remedy
    assert looker.look(12, fresh=True)["conditions"] == []


def test_a_card_that_is_made_whole_is_a_card_again_and_its_slices_are_gone(cut: FakeDriver, looker: Looker) -> None:
    looker.look(12)
    cut.say()
    assert [fact["uuid"] for fact in looker.look(12)["facts"]] == [uuid_of(0), WHOLE]
    assert {uuid for uuid, against in codes(looker.look(12)).items() if HealthCode.MIG_MODE in against} == {ONE, OTHER}


def test_a_cut_card_that_does_not_tell_so_now_is_not_offered_whole(cut: FakeDriver, looker: Looker) -> None:
    looker.look(12)
    cut.say("0.fail.nvmlDeviceGetMigMode 999", *CUT)
    assert [fact["uuid"] for fact in looker.look(12)["facts"]] == [ONE, OTHER, WHOLE]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (("0.mig 1",), "device 0 is in MIG mode and has no slices"),
        (("0/0.profile 1c.3g.40gb", "0.mig 1", "0.slices 1"), "slice 1c.3g.40gb of device 0 has no memory of its own"),
        (("0/0.instance 9", "0.mig 1", "0.slices 1"), "slice 1g.10gb of device 0 is not in"),
        (("0/0.memory NA", "0.mig 1", "0.slices 1"), "device 0 does not tell its UUID and memory"),
    ],
)
def test_a_cut_card_is_offered_only_as_slices_of_which_enough_is_told(
    cut: FakeDriver, looker: Looker, lines: tuple[str, ...], why: str
) -> None:
    cut.say(*lines)
    found = looker.look(12, fresh=True)
    assert [fact["uuid"] for fact in found["facts"]] == [WHOLE]
    assert why in found["note"]
    assert codes(found) == {"": {HealthCode.GPU_UNNAMED}}


def test_a_profile_that_no_name_tells_is_told_by_the_slices_parts(cut: FakeDriver, looker: Looker) -> None:
    cut.say("#.fail.nvmlDeviceGetName 3", *CUT)
    models = [fact["model"] for fact in looker.look(fresh=True)["facts"]]
    assert models == ["unknown NVIDIA GPU MIG 1g.10gb", "unknown NVIDIA GPU MIG 3g.40gb", "NVIDIA H100 80GB HBM3"]


def test_a_driver_without_slices_offers_nothing_of_a_cut_card(tmp_path: Path) -> None:
    driver = FakeDriver(build(tmp_path, "-DOLD_DRIVER"), tmp_path / "steering")
    driver.say(*CUT)
    with looking(driver) as looker:
        assert [fact["uuid"] for fact in looker.look()["facts"]] == [WHOLE]
