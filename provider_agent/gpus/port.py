"""The port to the GPUs of a node, and its empty form: a machine without a driver is a normal machine."""

from collections.abc import Iterable
from typing import Protocol

from market.resources import GpuFacts
from provider_agent.gpus.readings import Look, Trouble


class Gpus(Protocol):
    """The devices of this node. note: a sentence for people on what was found.

    facts and look ask the driver, which may hang: one thread alone calls them (health.watch.GpuWatch).
    """

    @property
    def simulated(self) -> bool: ...

    @property
    def driver_version(self) -> str | None: ...

    @property
    def cuda_version(self) -> str | None: ...

    @property
    def note(self) -> str: ...

    def facts(self) -> list[GpuFacts]:
        """Every device that has a name now; one that fell off the bus is no longer in it."""
        ...

    def look(self) -> Look:
        """What every device tells of this moment."""
        ...

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        """The files under /dev that a process needs in order to use exactly these devices; asks no driver. Raises
        LookupError for one that is not there."""
        ...


class NoGpus:
    """A machine that offers its CPUs alone."""

    simulated = False
    driver_version = None
    cuda_version = None

    def __init__(self, note: str, *, hung: bool = False) -> None:
        """hung: there is a driver, and it did not answer in time."""
        self.note = note
        self._look = Look(driver=Trouble.SILENT, driver_words=note) if hung else Look()

    def facts(self) -> list[GpuFacts]:
        return []

    def look(self) -> Look:
        return self._look

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        for uuid in uuids:
            raise LookupError(f"the GPU {uuid} is not there")
        return []
