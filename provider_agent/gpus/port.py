"""The port to the GPUs of a node, and its empty form: a machine without a driver is a normal machine."""

from collections.abc import Iterable
from typing import Protocol

from market.resources import GpuFacts


class Gpus(Protocol):
    """The devices of this node. note: a sentence for people on what was found."""

    @property
    def simulated(self) -> bool: ...

    @property
    def driver_version(self) -> str | None: ...

    @property
    def note(self) -> str: ...

    def facts(self) -> list[GpuFacts]:
        """Every device that can be leased now; one that fell off the bus is no longer in it."""
        ...

    def busy_percent(self) -> dict[str, int]:
        """How busy each device is at this moment, by UUID; a device that does not tell is missing."""
        ...

    def gauges(self) -> dict[str, dict[str, float]]:
        """What each device tells of this moment, by UUID and DCGM's name; what it does not tell is missing."""
        ...

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        """The files under /dev that a process needs in order to use exactly these devices."""
        ...


class NoGpus:
    """A machine that offers its CPUs alone."""

    simulated = False
    driver_version = None

    def __init__(self, note: str) -> None:
        self.note = note

    def facts(self) -> list[GpuFacts]:
        return []

    def busy_percent(self) -> dict[str, int]:
        return {}

    def gauges(self) -> dict[str, dict[str, float]]:
        return {}

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        del uuids
        return []
