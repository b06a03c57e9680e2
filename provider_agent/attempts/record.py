"""What an agent must still know of an attempt after it was killed: one small file in the attempt's folder."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from market.agent_api import DesiredAttempt
from market.states import Reason
from provider_agent.durable import write_atomically

FILE = "attempt.json"
ARCHIVE = "workdir.tar.gz"
WORK = "work"


class Stage(StrEnum):
    """How far it has come. What runs is never written here: the minder's lock says that."""

    ACCEPTED = "accepted"  # nothing of it ever ran
    LAUNCHING = "launching"  # with an order on disk, the minder may have been started
    ENDED = "ended"  # nothing of it runs any more; log, outputs and the end are being delivered
    REPORTED = "reported"  # the portal has everything; kept until it is no longer listed, so that it never runs again


class Result(BaseModel):
    """How it ended, in the market's words."""

    model_config = ConfigDict(frozen=True)

    reason: Reason
    exit_code: int | None = None
    detail: str = ""


class Record(BaseModel):
    """One attempt of this node. Times are CLOCK_BOOTTIME nanoseconds of the boot that is named.

    deadline_boottime_ns: as it was accepted; the minder's own file has what it was extended to;
    slot: decides the host uid, no other live attempt has it; stop_reason: why it was told to stop, first cause;
    stream_begun: there was a stream of readings, so a missing one is lost; final_read: no reading follows;
    trace: the customer's request that submitted the job, once the order has told it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempt_id: str
    attempt_number: int
    job_id: str
    lease_id: str
    gpu_uuids: tuple[str, ...]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    slot: int
    boot_id: str
    accepted_boottime_ns: int
    deadline_boottime_ns: int
    stage: Stage = Stage.ACCEPTED
    outputs: tuple[str, ...] = ()
    run_for_seconds: int = 0
    stop_grace_seconds: int = 0
    stop_reason: Reason | None = None
    result: Result | None = None
    stream_begun: bool = False
    final_read: bool = False
    trace: str | None = None

    @classmethod
    def accept(cls, desired: DesiredAttempt, *, slot: int, boot_id: str, now_ns: int, deadline_ns: int) -> Self:
        return cls(
            attempt_id=desired.attempt_id,
            attempt_number=desired.attempt_number,
            job_id=desired.job_id,
            lease_id=desired.lease_id,
            gpu_uuids=tuple(desired.gpu_uuids),
            cpu_milli=desired.cpu_milli,
            memory_bytes=desired.memory_bytes,
            disk_bytes=desired.disk_bytes,
            slot=slot,
            boot_id=boot_id,
            accepted_boottime_ns=now_ns,
            deadline_boottime_ns=deadline_ns,
        )

    def save(self, folder: Path, *, durable: bool = False) -> None:
        """Durable: it survives a power cut, too. Needed once the attempt may run; the rest can be learned again."""
        write_atomically(folder / FILE, self.model_dump_json().encode(), durable=durable)


def read_record(folder: Path) -> Record | None:
    """None for a folder without a readable record: a kill came before it was complete, so nothing ever ran in it."""
    try:
        return Record.model_validate_json((folder / FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
