"""How long each GPU has been busy, summed up from a look a second; this counter exists nowhere else."""

from collections.abc import Iterable

from provider_agent.gpus.readings import Look

GAP_MAX_SECONDS = 5.0
"""A look that came later than this says nothing about the time before it (the machine slept, the driver hung)."""


class GpuBusy:
    """Milliseconds of busy time by UUID, since this agent started."""

    def __init__(self) -> None:
        self._busy_ms: dict[str, float] = {}

    def total_ms(self, uuids: Iterable[str]) -> int:
        return int(sum(self._busy_ms.get(uuid, 0.0) for uuid in uuids))

    def take(self, look: Look, elapsed_seconds: float) -> None:
        """elapsed_seconds: since the look before this one."""
        if elapsed_seconds > GAP_MAX_SECONDS:
            return
        for device in look.devices:
            percent = device.pulse.busy_percent
            if percent is not None:
                self._busy_ms[device.uuid] = self._busy_ms.get(device.uuid, 0.0) + percent * elapsed_seconds * 10
