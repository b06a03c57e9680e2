"""Telemetry by the minute: the least, the mean and the most of what was seen each second, kept until it is told."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from market.health import ENERGY_MAX, MINUTES_KEPT_MAX, SAMPLE_MAX, GpuMinute, Spread
from provider_agent.gpus.readings import (
    THROTTLE_HW_SLOWDOWN,
    THROTTLE_HW_THERMAL,
    THROTTLE_POWER_BRAKE,
    THROTTLE_SW_THERMAL,
    Look,
    Pulse,
)

MINUTE_SECONDS = 60.0
AGO_MAX_SECONDS = 86_400.0
_MIB = 2**20
_HELD_DOWN = THROTTLE_HW_SLOWDOWN | THROTTLE_SW_THERMAL | THROTTLE_HW_THERMAL | THROTTLE_POWER_BRAKE
_FIGURES: dict[str, Callable[[Pulse], int | None]] = {
    "busy_percent": lambda pulse: pulse.busy_percent,
    "memory_used_mib": lambda pulse: None if pulse.memory_used_bytes is None else pulse.memory_used_bytes // _MIB,
    "temperature_c": lambda pulse: pulse.temperature_c,
    "power_milliwatts": lambda pulse: pulse.power_milliwatts,
    "sm_clock_mhz": lambda pulse: pulse.sm_clock_mhz,
}


@dataclass(slots=True)
class _Sums:
    least: int
    most: int
    total: int = 0
    count: int = 0

    def add(self, value: int) -> None:
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.total += value
        self.count += 1

    @property
    def spread(self) -> Spread:
        return self.least, self.total // self.count, self.most


@dataclass(slots=True)
class _Gathering:
    """What one GPU told in the minute that runs."""

    samples: int = 0
    throttled: int = 0
    energy_first: int | None = None
    energy_last: int | None = None
    sums: dict[str, _Sums] = field(default_factory=dict)

    def add(self, pulse: Pulse) -> None:
        self.samples += 1
        self.throttled += bool((pulse.throttle or 0) & _HELD_DOWN)
        if pulse.energy_millijoules is not None:
            self.energy_last = pulse.energy_millijoules
            if self.energy_first is None or self.energy_last < self.energy_first:
                self.energy_first = self.energy_last
        for name, figure in _FIGURES.items():
            value = figure(pulse)
            if value is not None:
                value = max(-SAMPLE_MAX, min(value, SAMPLE_MAX))
                self.sums.setdefault(name, _Sums(value, value)).add(value)

    @property
    def energy(self) -> int | None:
        return None if self.energy_first is None else min((self.energy_last or 0) - self.energy_first, ENERGY_MAX)


class Minutes:
    """Fed with each look; bounded, whatever the portal does: the oldest minutes go first."""

    def __init__(self) -> None:
        self._gathering: dict[str, _Gathering] = {}
        self._begun_s: float | None = None
        self._done: deque[tuple[float, dict[str, _Gathering]]] = deque(maxlen=MINUTES_KEPT_MAX)

    def take(self, look: Look, now_s: float) -> None:
        """now_s: seconds of a clock that nobody sets."""
        if self._begun_s is None:
            self._begun_s = now_s
        if now_s - self._begun_s >= MINUTE_SECONDS:
            if self._gathering:
                self._done.append((now_s, self._gathering))
            self._gathering, self._begun_s = {}, now_s
        for device in look.devices:
            if device.trouble is None and device.pulse != Pulse():
                self._gathering.setdefault(device.uuid, _Gathering()).add(device.pulse)

    def oldest(self, now_s: float) -> list[GpuMinute]:
        """The first minute that was not told yet, of every GPU; empty when there is none."""
        if not self._done:
            return []
        ended_s, gathered = self._done[0]
        ago = min(max(0.0, now_s - ended_s), AGO_MAX_SECONDS)
        return [
            GpuMinute(
                gpu_uuid=uuid,
                ago_seconds=ago,
                samples=each.samples,
                energy_millijoules=each.energy,
                throttled_samples=each.throttled,
                **{name: sums.spread for name, sums in each.sums.items()},
            )
            for uuid, each in gathered.items()
        ]

    def told(self, minutes: list[GpuMinute]) -> None:
        """Forget these: the portal has them."""
        if minutes and self._done and self._done[0][1].keys() == {minute.gpu_uuid for minute in minutes}:
            self._done.popleft()
