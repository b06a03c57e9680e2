"""How long something must last before it counts, and how long it must be gone: the rules behind every condition."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.health import HealthCode
from provider_agent.gpus.readings import Checkup, GpuReading, Look, Pulse, XidEvent
from provider_agent.health.judging import PATIENCE, Memory, step
from provider_agent.health.surroundings import DiskReading, Surroundings, own_processes, read_disk
from provider_agent.health.symptoms import DISK_FULL_BYTES, DISK_WELL_BYTES

UUID = "GPU-00000000"
AROUND = Surroundings(pool=frozenset({UUID}), seen=frozenset({UUID}))
WELL = DiskReading(10**11, 10**6, read_only=False)
QUIET = Pulse()


class Course:
    """Looks one after the other, and what stands after each."""

    def __init__(self) -> None:
        self.memory, self.now_s, self.boot = Memory(), 0.0, "first"

    def look(
        self, pulse: Pulse = QUIET, around: Surroundings = AROUND, seconds: float = 1.0, **more: object
    ) -> list[HealthCode]:
        self.now_s += seconds
        checkup = more.pop("checkup", Checkup())
        look = Look((GpuReading(UUID, 0, pulse, checkup),), **more)  # type: ignore[arg-type]
        self.memory, found = step(self.memory, look, around, now_s=self.now_s, boot_id=self.boot)
        return [condition.code for condition in found]


@pytest.fixture
def course() -> Course:
    return Course()


def test_heat_counts_when_it_lasts_and_until_the_card_is_clearly_cooler(course: Course) -> None:
    hot, warm, cool = (Pulse(temperature_c=celsius) for celsius in (91, 82, 70))
    threshold = Checkup(slowdown_at_c=87)
    assert course.look(hot, checkup=threshold) == []
    assert course.look(cool, checkup=threshold) == [], "a single look is noise"
    seen = [course.look(hot, checkup=threshold) for _ in range(5)]
    assert seen[-1] == [HealthCode.TOO_HOT]
    assert course.look(warm, checkup=threshold, seconds=300) == [HealthCode.TOO_HOT], "just below is not cool"
    assert course.look(cool, checkup=threshold, seconds=30) == [HealthCode.TOO_HOT]
    assert course.look(cool, checkup=threshold, seconds=61) == []


def test_a_detail_stays_as_it_was_when_it_began_to_count(course: Course) -> None:
    for celsius in (96, 97, 98, 99, 100, 101):
        course.look(Pulse(temperature_c=celsius))
    (standing,) = course.memory.courses.values()
    assert (standing.counts, standing.detail) == (True, "99 °C"), "else each degree would be told the market"


@pytest.mark.parametrize(
    ("disk", "code"),
    [
        (WELL, None),
        (DiskReading(DISK_FULL_BYTES - 1, None, read_only=False), HealthCode.DISK_FULL),
        (DiskReading(10**11, 5, read_only=False), HealthCode.DISK_FULL),
        (DiskReading(10**11, None, read_only=True), HealthCode.DISK_READ_ONLY),
        (None, None),
    ],
)
def test_a_disk_that_takes_nothing_more_stands_against_the_node(
    course: Course, disk: DiskReading | None, code: HealthCode | None
) -> None:
    around = Surroundings(pool=frozenset({UUID}), disk=disk)
    assert course.look(around=around) == ([] if code is None else [code])


def test_a_full_disk_is_well_again_when_there_is_clearly_room(course: Course) -> None:
    def free(gigabytes: float) -> Surroundings:
        return Surroundings(pool=frozenset({UUID}), disk=DiskReading(int(gigabytes * 10**9), None, read_only=False))

    assert course.look(around=free(0.5)) == [HealthCode.DISK_FULL]
    assert course.look(around=free(1.5), seconds=60) == [HealthCode.DISK_FULL]
    assert course.look(around=free(DISK_WELL_BYTES / 10**9), seconds=60) == []


@pytest.mark.parametrize(
    ("off", "counts"), [(None, False), (0.0, False), (29.9, False), (30.1, True), (86_400.0, True)]
)
def test_a_clock_counts_as_off_beyond_thirty_seconds(course: Course, off: float | None, counts: bool) -> None:
    around = Surroundings(pool=frozenset({UUID}), clock_off_seconds=off)
    assert course.look(around=around) == ([HealthCode.CLOCK_OFF] if counts else [])


def test_a_hardware_xid_stands_until_a_reset_or_a_reboot(course: Course) -> None:
    assert course.look(Pulse(energy_millijoules=500), xids=(XidEvent(UUID, 79),)) == [HealthCode.XID_HARDWARE]
    assert course.look(Pulse(energy_millijoules=900), seconds=10**6) == [HealthCode.XID_HARDWARE]
    assert course.look(Pulse(energy_millijoules=None)) == [HealthCode.XID_HARDWARE], "a lost card tells nothing"
    assert course.look(Pulse(energy_millijoules=10)) == []
    course.look(Pulse(energy_millijoules=20), xids=(XidEvent(UUID, 48),))
    course.boot = "second"
    assert course.look(Pulse(energy_millijoules=30)) == []


def test_an_xid_that_was_recovered_from_stands_for_ten_quiet_minutes(course: Course) -> None:
    assert course.look(xids=(XidEvent(UUID, 94),)) == [HealthCode.XID_RECENT]
    assert course.look(seconds=500, xids=(XidEvent(UUID, 94),)) == [HealthCode.XID_RECENT]
    assert course.look(seconds=500) == [HealthCode.XID_RECENT]
    assert course.look(seconds=101) == []


def test_an_agent_that_starts_anew_keeps_the_xids_and_nothing_else(course: Course) -> None:
    course.look(Pulse(temperature_c=99), xids=(XidEvent(UUID, 79),))
    course.look(Pulse(temperature_c=99), seconds=5)
    course.memory = Memory(xids=course.memory.xids)
    assert course.look() == [HealthCode.XID_HARDWARE]


def test_a_driver_that_hangs_stands_against_each_card_and_hides_the_rest(course: Course) -> None:
    hung = Surroundings(pool=frozenset({UUID}), seen=frozenset({UUID}), hung_seconds=12)
    assert course.look(around=hung) == [HealthCode.DRIVER_HUNG]


@given(st.lists(st.booleans(), max_size=200))
def test_nothing_counts_sooner_or_ends_sooner_than_its_patience_says(showing: list[bool]) -> None:
    """Whatever the course of a symptom: what counts has lasted, and what ended was gone for long enough."""
    patience = PATIENCE[HealthCode.TOO_HOT]
    course, shown_since, gone_since, counted = Course(), None, None, False
    for shows in showing:
        codes = course.look(Pulse(temperature_c=99 if shows else 20), seconds=1.0)
        now = course.now_s
        shown_since = (shown_since if shown_since is not None else now) if shows else None
        gone_since = None if shows else (gone_since if gone_since is not None else now)
        counts = HealthCode.TOO_HOT in codes
        if counts and not counted:
            assert shown_since is not None
            assert now - shown_since >= patience.before_seconds
        if counted and not counts:
            assert gone_since is not None
            assert now - gone_since + 1.0 >= patience.after_seconds
        counted = counts


def test_a_real_file_system_is_read(tmp_path: Path) -> None:
    disk = read_disk(tmp_path)
    assert disk is not None
    assert disk.free_bytes > 0
    assert not disk.read_only


def test_what_the_agent_itself_computes_is_nobody_elses_work(course: Course) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            look = Look((GpuReading(UUID, 0, QUIET, Checkup(processes=(child.pid, 1))),))
            assert own_processes(look, frozenset()) == {child.pid}
            assert own_processes(look, frozenset({UUID})) == frozenset(), "a job's are not looked up"
        finally:
            child.kill()
    around = replace(AROUND, own=frozenset({77}))
    assert [course.look(around=around, seconds=40, checkup=Checkup(processes=(77,))) for _ in range(2)] == [[], []]
    told = [course.look(around=around, seconds=40, checkup=Checkup(processes=(77, 78))) for _ in range(2)]
    assert told == [[], [HealthCode.USED_BY_OTHERS]]
