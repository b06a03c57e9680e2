"""From what looks show to what stands against this node: from when something counts, and until when. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from market.health import CONDITIONS_MAX, Condition, HealthCode
from provider_agent.gpus.readings import Look
from provider_agent.health import xids
from provider_agent.health.surroundings import Surroundings
from provider_agent.health.symptoms import Key, Symptom, symptoms
from provider_agent.health.xids import XidSeen

DETAIL_MAX = 200
XIDS_MAX = 256


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a symptom lasts before it counts, and that it must be gone before it no longer does."""

    before_seconds: float = 0.0
    after_seconds: float = 10.0


_AT_ONCE = Patience(0.0, 0.0)
PATIENCE: Mapping[HealthCode, Patience] = {
    HealthCode.TOO_HOT: Patience(3.0, 60.0),
    HealthCode.SLOWED_BY_HEAT: Patience(30.0, 60.0),
    HealthCode.POWER_BRAKE: Patience(3.0, 60.0),
    HealthCode.POWER_OVER_LIMIT: Patience(3.0, 60.0),
    HealthCode.PCIE_NARROW: Patience(60.0, 60.0),
    HealthCode.USED_BY_OTHERS: Patience(30.0, 10.0),
    HealthCode.ECC_STORM: Patience(0.0, 600.0),
    HealthCode.XID_HARDWARE: _AT_ONCE,
    HealthCode.XID_RECENT: _AT_ONCE,
    HealthCode.CLOCK_OFF: _AT_ONCE,
    HealthCode.DRIVER_OLD: _AT_ONCE,
}
"""The rest counts at once and ends ten seconds after it was last seen."""
_USUAL = Patience()


@dataclass(frozen=True, slots=True)
class Course:
    """One symptom over time; detail: as it was when it began to count."""

    first_s: float
    last_s: float
    counts: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from look to look; xids outlive the agent."""

    courses: Mapping[Key, Course] = field(default_factory=dict)
    xids: tuple[XidSeen, ...] = ()
    look: Look = field(default_factory=Look)


def step(
    memory: Memory, look: Look, around: Surroundings, *, now_s: float, boot_id: str
) -> tuple[Memory, list[Condition]]:
    """Take one more look into account. now_s: CLOCK_BOOTTIME. The conditions are in a stable order."""
    seen = _remember_xids(memory, look, now_s, boot_id)
    standing = {key for key, course in memory.courses.items() if course.counts}
    found = [*symptoms(look, around, memory.look, standing), *_of_xids(seen)]
    courses = _courses(memory.courses, found, now_s)
    conditions = [
        Condition(code=code, gpu_uuid=uuid, detail=course.detail)
        for (code, uuid), course in courses.items()
        if course.counts
    ]
    conditions.sort(key=lambda condition: (condition.gpu_uuid or "", condition.code))
    return Memory(courses, seen, look), conditions[:CONDITIONS_MAX]


def _courses(before: Mapping[Key, Course], found: Iterable[Symptom], now_s: float) -> dict[Key, Course]:
    courses: dict[Key, Course] = {}
    for symptom in found:
        known = courses.get(symptom.key) or before.get(symptom.key)
        first_s = known.first_s if known is not None else now_s
        patience = PATIENCE.get(symptom.code, _USUAL)
        counts = (known is not None and known.counts) or now_s - first_s >= patience.before_seconds
        detail = known.detail if known is not None and known.counts else symptom.detail[:DETAIL_MAX]
        courses[symptom.key] = Course(first_s, now_s, counts, detail)
    for key, course in before.items():
        if key not in courses and course.counts and now_s - course.last_s < PATIENCE.get(key[0], _USUAL).after_seconds:
            courses[key] = course
    return courses


def _remember_xids(memory: Memory, look: Look, now_s: float, boot_id: str) -> tuple[XidSeen, ...]:
    """The newest of each kind and device, as long as they hold. A device that is lost tells no energy any more."""
    energy = _energy(memory.look) | _energy(look)
    fresh = [
        XidSeen(event.uuid, event.xid, now_s, boot_id, energy.get(event.uuid))
        for event in look.xids
        if xids.code_of(event.xid) is not None
    ]
    newest = {(seen.uuid, seen.xid): seen for seen in (*memory.xids, *fresh)}
    held = [seen for seen in newest.values() if xids.still_holds(seen, now_s, boot_id, energy.get(seen.uuid))]
    return tuple(held[-XIDS_MAX:])


def _energy(look: Look) -> dict[str, int | None]:
    told = {device.uuid: device.pulse.energy_millijoules for device in look.devices}
    return {uuid: energy for uuid, energy in told.items() if energy is not None}


def _of_xids(seen: Iterable[XidSeen]) -> list[Symptom]:
    """One symptom a device and kind, with all their numbers."""
    found: dict[Key, Symptom] = {}
    for each in seen:
        code = xids.code_of(each.xid)
        if code is None:
            continue
        known = found.get((code, each.uuid))
        detail = xids.words(each.xid) if known is None else f"{known.detail}; {xids.words(each.xid)}"
        found[code, each.uuid] = Symptom(code, each.uuid, detail)
    return list(found.values())
