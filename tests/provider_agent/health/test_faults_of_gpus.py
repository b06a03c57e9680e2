"""Each fault of a GPU or its driver ends in the right state, reason and remedy, and ends again when it is mended.

The real binding asks a compiled fake driver; time is pretended.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fake_driver import FakeDriver, Looker, looking, uuid_of

from market.health import ADVICE, HealthCode

LOST, RESET, UNKNOWN, NOT_LOADED, MISMATCH, UNINITIALIZED = 15, 16, 999, 9, 18, 1
BOTH = (0, 1)


@dataclass(frozen=True)
class Fault:
    """lines: what the driver says then; code and gpus: what it comes to (None: nothing stands against anything).

    quarantines and remedy: what is done about it; mended: what the driver says once it is mended.
    """

    name: str
    lines: tuple[str, ...]
    code: HealthCode | None
    quarantines: bool = True
    remedy: str = ""
    gpus: tuple[int | None, ...] = (1,)
    mended: tuple[str, ...] = ()


def every_field(code: int) -> tuple[str, ...]:
    """GPU 1 answers that code to everything that is asked each second or now and then."""
    names = ("UtilizationRates", "MemoryInfo", "CurrentClocksEventReasons", "CurrentClocksThrottleReasons")
    names += ("Temperature", "PowerUsage", "TotalEnergyConsumption", "ClockInfo", "RemappedRows", "EccMode")
    return tuple(f"1.fail.nvmlDeviceGet{name} {code}" for name in names)


def xid(number: int) -> tuple[str, ...]:
    return (f"event {number}", "event.gpu 1", f"event.xid {number}", "*.energy 900")


AFTER_A_RESET = ("*.energy 3",)
FAULTS = (
    Fault("fallen off the bus", ("1.lost 1",), HealthCode.GPU_LOST, True, "power cables"),
    Fault("no longer listed", ("count 1",), HealthCode.GPU_LOST, True, "reboot"),
    Fault("no handle any more", (f"1.fail.nvmlDeviceGetHandleByIndex_v2 {LOST}",), HealthCode.GPU_LOST, True, "reboot"),
    Fault("a field says lost", (f"1.fail.nvmlDeviceGetTemperature {LOST}",), HealthCode.GPU_LOST, True, "reboot"),
    Fault("must be reset", every_field(RESET), HealthCode.GPU_NEEDS_RESET, True, "--gpu-reset"),
    Fault("silent about everything", every_field(UNKNOWN), HealthCode.GPU_SILENT, True, "dmesg"),
    Fault("Xid 79", xid(79), HealthCode.XID_HARDWARE, True, "--gpu-reset", mended=AFTER_A_RESET),
    Fault("Xid 48", xid(48), HealthCode.XID_HARDWARE, True, "--gpu-reset", mended=AFTER_A_RESET),
    Fault("Xid 74", xid(74), HealthCode.XID_HARDWARE, True, "--gpu-reset", mended=AFTER_A_RESET),
    Fault("Xid 119", xid(119), HealthCode.XID_HARDWARE, True, "--gpu-reset", mended=AFTER_A_RESET),
    Fault("Xid 94, recovered", xid(94), HealthCode.XID_RECENT, True, "ten quiet minutes"),
    Fault("Xid 63, recovered", xid(63), HealthCode.XID_RECENT, True, "ten quiet minutes"),
    Fault("Xid 13, an application's own", xid(13), None),
    Fault("Xid 31, an application's own", xid(31), None),
    Fault("uncorrected memory errors", ("1.ecc_uncorrected 2",), HealthCode.ECC_UNCORRECTED, True, "--gpu-reset"),
    Fault("a row that cannot be replaced", ("1.rows_failed 1",), HealthCode.MEMORY_WORN_OUT, True, "RMA"),
    Fault("a row to be replaced", ("1.rows_pending 1",), HealthCode.MEMORY_REPAIR_PENDING, True, "--gpu-reset"),
    Fault("a page to be retired", ("1.retirement_pending 1",), HealthCode.MEMORY_REPAIR_PENDING, True, "--gpu-reset"),
    Fault("many corrected errors", ("1.ecc_corrected 500",), HealthCode.ECC_STORM, False, "tested"),
    Fault("few corrected errors", ("1.ecc_corrected 3",), None),
    Fault("at its slowdown temperature", ("1.temperature 91",), HealthCode.TOO_HOT, True, "fans"),
    Fault("at its own lower threshold", ("1.temperature 80", "1.slowdown_at 78"), HealthCode.TOO_HOT, True, "fans"),
    Fault("hot, without a threshold", ("1.temperature 96", "1.slowdown_at NA"), HealthCode.TOO_HOT, True, "fans"),
    Fault("hot memory", ("1.memory_temperature 108",), HealthCode.TOO_HOT, True, "airflow"),
    Fault("slowed by the hardware's heat", ("1.throttle 0x48",), HealthCode.TOO_HOT, True, "fans"),
    Fault("slowed by the driver's heat", ("1.throttle 0x20",), HealthCode.SLOWED_BY_HEAT, False, "fans"),
    Fault("slowed by its power cap", ("1.throttle 0x4",), None),
    Fault("power brake", ("1.throttle 0x88",), HealthCode.POWER_BRAKE, True, "power supply"),
    Fault("far above its power limit", ("1.power 990000",), HealthCode.POWER_OVER_LIMIT, True, "tested"),
    Fault("a third of the usual power", ("1.power_limit 230000",), HealthCode.POWER_CAPPED, False, "-pl"),
    Fault("sliced", ("1.mig 1",), HealthCode.MIG_MODE, True, "-mig 0"),
    Fault("four of sixteen lanes", ("1.pcie_width 4",), HealthCode.PCIE_NARROW, False, "slot"),
    Fault("NVLinks down", ("1.nvlinks_down 4",), HealthCode.NVLINK_DOWN, False, "fabricmanager"),
    Fault("no NVLinks", ("1.nvlinks 0",), None),
    Fault("somebody's process", ("1.process 4711",), HealthCode.USED_BY_OTHERS, False, "withdraw"),
    Fault("not the memory of its name", ("1.memory 8589934592",), HealthCode.NOT_ITS_NAME, False, "driver"),
    Fault("not the capability of its name", ("1.capability 6",), HealthCode.NOT_ITS_NAME, False, "driver"),
    Fault("one UUID twice", (f"1.uuid {uuid_of(0)}",), HealthCode.UUID_TWICE, True, "reinstall", gpus=(0,)),
    Fault("a third one, later", ("count 3",), HealthCode.NOT_IN_POOL, True, "restart the agent", gpus=(2,)),
    Fault("one without a UUID", ("count 3", "2.uuid NA"), HealthCode.GPU_UNNAMED, False, "nvidia-smi -q", gpus=(None,)),
    Fault("one whose UUID is none", ("count 3", "2.uuid ???"), HealthCode.GPU_UNNAMED, False, "reboot", gpus=(None,)),
    Fault("one without memory", ("count 3", "2.memory NA"), HealthCode.GPU_UNNAMED, False, "reboot", gpus=(None,)),
    Fault("driver unloaded", (f"fail.nvmlDeviceGetCount_v2 {NOT_LOADED}", f"fail.nvmlInitWithFlags {NOT_LOADED}"),
          HealthCode.DRIVER_SILENT, True, "load the driver", BOTH),
    Fault("driver changed below", (f"fail.nvmlDeviceGetCount_v2 {MISMATCH}", f"fail.nvmlInitWithFlags {MISMATCH}"),
          HealthCode.DRIVER_MISMATCH, True, "restart the agent", BOTH),
    Fault("driver fails", (f"fail.nvmlDeviceGetCount_v2 {UNKNOWN}",), HealthCode.DRIVER_SILENT, True, "reboot", BOTH),
    Fault("driver too old", ("driver 470.256.02",), HealthCode.DRIVER_OLD, True, "525.60", BOTH),
    Fault("no driver version", ("fail.nvmlSystemGetDriverVersion 3",), None),
    Fault("no events", ("fail.nvmlEventSetCreate 3",), None),
)  # fmt: skip

TOLD_AT_OPENING = (HealthCode.DRIVER_OLD, HealthCode.NOT_ITS_NAME, None)
"""What is asked once when the driver is opened, or seldom."""


@pytest.fixture(scope="module")
def looker(driver_library: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeDriver, Looker]]:
    """One process for the whole table: a fault that killed it would fail all that follow."""
    driver = FakeDriver(driver_library, tmp_path_factory.mktemp("looker") / "steering")  # type: ignore[arg-type]
    with looking(driver) as looker:
        yield driver, looker


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_ends_in_its_state_reason_and_remedy_and_ends_when_mended(
    looker: tuple[FakeDriver, Looker], fault: Fault
) -> None:
    driver, process = looker
    driver.say()
    assert process.look(3, fresh=True)["conditions"] == []

    driver.say(*fault.lines)
    opened_anew = fault.code in TOLD_AT_OPENING
    found = process.look(24, 5.0, fresh=opened_anew)["conditions"]
    told = {(each["code"], each["gpu_uuid"]) for each in found}
    if fault.name == "one UUID twice":
        told -= {(HealthCode.GPU_LOST, uuid_of(1))}
    assert told == (
        {(fault.code, None if gpu is None else uuid_of(gpu)) for gpu in fault.gpus} if fault.code else set()
    )
    if fault.code is not None:
        advice = ADVICE[fault.code]
        assert advice.quarantines is fault.quarantines
        assert fault.remedy in advice.remedy
        assert advice.reason

    driver.say(*fault.mended)
    healed = process.look(24, 60.0, fresh=opened_anew)["conditions"]
    if fault.code is HealthCode.NOT_IN_POOL:
        assert {each["code"] for each in healed} == {HealthCode.GPU_LOST}, "what was seen once is missed"
    else:
        assert healed == []


def test_the_table_is_as_long_as_promised() -> None:
    assert len(FAULTS) >= 25
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(code in ADVICE for code in HealthCode)


def test_a_card_that_is_leased_may_be_computed_on(looker: tuple[FakeDriver, Looker]) -> None:
    driver, process = looker
    driver.say("1.process 4711")
    assert process.look(24, 5.0, fresh=True, leased=[uuid_of(1)])["conditions"] == []


@pytest.mark.parametrize(
    "key",
    ["busy", "memory_used", "temperature", "power", "energy", "sm_clock", "memory_clock", "throttle", "ecc_corrected",
     "power_limit", "power_limit_default", "pcie_width", "pcie_width_max", "mig", "process", "capability", "ecc",
     "rows_failed", "memory_temperature", "slowdown_at", "nvlinks", "pci_device", "retirement_pending"],
)  # fmt: skip
def test_a_field_that_is_not_told_costs_that_field_alone(looker: tuple[FakeDriver, Looker], key: str) -> None:
    driver, process = looker
    driver.say()
    process.look(fresh=True)
    driver.say(f"1.{key} NA")
    found = process.look(12, 5.0)
    assert found["conditions"] == []
    one, other = (found["readings"][uuid_of(index)] for index in (1, 0))
    differing = {
        name
        for part in ("pulse", "checkup")
        for name, value in one[part].items()
        if value != other[part][name] and value is None
    }
    assert len(differing) <= (4 if key == "rows_failed" else 2), "one question tells at most two, or four about rows"
    assert [fact["uuid"] for fact in found["facts"]] == [uuid_of(0), uuid_of(1)]


HUGE = 2**64 - 1


@pytest.mark.parametrize("fresh", [True, False])
def test_figures_beyond_all_reason_cost_at_most_their_device(looker: tuple[FakeDriver, Looker], fresh: bool) -> None:
    driver, process = looker
    driver.say()
    process.look(fresh=True)
    keys = (
        "memory",
        "memory_used",
        "temperature",
        "power",
        "energy",
        "sm_clock",
        "power_limit",
        "pci_device",
        "throttle",
    )
    driver.say(*(f"1.{key} {HUGE}" for key in keys), "1.capability 2000000000")
    found = process.look(130, 1.0, fresh=fresh)
    assert uuid_of(0) in {fact["uuid"] for fact in found["facts"]}
    assert not [each for each in found["conditions"] if each["gpu_uuid"] == uuid_of(0)]
    assert all(minute["samples"] for minute in found["minute"])
