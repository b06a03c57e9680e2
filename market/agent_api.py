"""Everything an agent asks of the portal and what it is answered: one authenticated HTTPS conversation, dialled out.

Node credential: `Authorization: Bearer gba_...`. Every body is bounded; a lost request costs time, never correctness.

POST /agent/v1/nodes                      JoinRequest  -> JoinAnswer       (join token: Bearer gbj_...)
POST /agent/v1/poll                       PollRequest  -> PollAnswer       (the long poll is the heartbeat)
PUT  /agent/v1/inventory                  Inventory    -> 204
PUT  /agent/v1/health                     HealthReport -> 204              (when it changes, and every minute)
POST /agent/v1/reports                    signed body  -> ReportAnswer     (header SIGNATURE_HEADER over the raw body)
GET  /agent/v1/attempts/{id}/order                     -> AttemptOrder     (one that did not come with the poll)
PUT  /agent/v1/attempts/{id}/log?offset=N raw bytes    -> LogAnswer
POST /agent/v1/attempts/{id}/outputs      OutputsRequest -> OutputsAnswer  (signed URLs to upload to)
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from market.health import CONDITIONS_MAX, Condition, GpuMinute
from market.reading_runs import RUN_READINGS_MAX, ReadingRun
from market.readings import Reading
from market.resources import GPU_COUNT_MAX, Inventory
from market.states import Reason

SIGNATURE_HEADER = "Gridbay-Signature"
POLL_WAIT_MAX_SECONDS = 30
REPORT_READINGS_MAX = 1000
REPORT_BODY_MAX_BYTES = 1_000_000
LOG_CHUNK_MAX_BYTES = 256 * 1024
LOG_MAX_BYTES = 256 * 1024 * 1024
"""That a market takes of one attempt; a node keeps `LOG_BYTES_MAX` at most (provider_agent/minder/orders.py)."""
ORDERS_A_POLL_MAX = 16
OUTPUT_FILES_MAX = 1000
OUTPUTS_MAX_BYTES = 20 * 10**9
ATTEMPTS_PER_NODE_MAX = 256
STREAMS_ASKED_MAX = 4 * ATTEMPTS_PER_NODE_MAX
INTEGER_MAX = 2**63 - 1


class _Frame(BaseModel):
    # A newer portal may say more than an older agent knows, so answers are read leniently.
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JoinRequest(_Request):
    """possession: signature under JOIN_TAG over the join token's bytes: the node has the private key."""

    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    possession: str = Field(pattern=r"^[0-9a-f]{128}$")
    name: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
    inventory: Inventory
    price_microusd_per_gpu_hour: int | None = Field(default=None, ge=0, le=10**9)
    price_microusd_per_cpu_hour: int | None = Field(default=None, ge=0, le=10**9)


class JoinAnswer(_Frame):
    """token: the node's credential, shown this once. offers: what is listed now, in words for the checklist."""

    node_id: str
    provider_id: str
    token: str
    offers: list[str]


class PollRequest(_Request):
    """seen_version: of the desired state the agent has applied; the portal answers at once when there is a newer.

    streams: those whose readings the agent keeps until they are durable; it is told how far each of them is.
    known: the attempts that the agent has. Others come with their orders; without it, every order is asked for.
    """

    boot_id: str = Field(max_length=64)
    seen_version: int = Field(ge=0, le=INTEGER_MAX)
    wait_seconds: float = Field(ge=0, le=POLL_WAIT_MAX_SECONDS)
    pool: Literal["starting", "ready", "down"]
    streams: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=STREAMS_ASKED_MAX)
    known: list[Annotated[str, Field(max_length=64)]] | None = Field(default=None, max_length=ATTEMPTS_PER_NODE_MAX)


class HealthReport(_Request):
    """All that stands against the node now; what is not in it no longer does. minutes: telemetry, told once."""

    conditions: list[Condition] = Field(max_length=CONDITIONS_MAX)
    minutes: list[GpuMinute] = Field(default_factory=list, max_length=GPU_COUNT_MAX)


class Action(StrEnum):
    RUN = "run"
    STOP = "stop"


class Secret(_Frame):
    name: str
    value: str


class AttemptOrder(_Frame):
    """What the sandbox needs to start. workdir_url: a signed URL of a .tar.gz archive, or None.

    trace: the request that submitted the job, to be said in every log line about it.
    """

    attempt_id: str
    job_id: str
    attempt_number: int
    run: str
    env: dict[str, str]
    secrets: list[Secret]
    workdir_url: str | None
    workdir_sha256: str | None
    outputs: list[str]
    run_for_seconds: int
    stop_grace_seconds: int
    trace: str | None = None


class DesiredAttempt(_Frame):
    """One attempt this node should be running or ending. An attempt that is not listed is to be killed and forgotten.

    held_for_ms: what is left of the lease at the moment of the answer; the agent counts it on CLOCK_BOOTTIME, from when
    it SENT the poll and for how long the portal kept it (PollAnswer.waited_ms). gpu_uuids: exactly the devices that
    are exposed. order: of one that the agent does not have yet, as a rule; where it is missing, the agent asks for it.
    """

    attempt_id: str
    attempt_number: int
    job_id: str
    lease_id: str
    action: Action
    stop_reason: Reason | None = None
    held_for_ms: int
    gpu_uuids: list[str]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    order: AttemptOrder | None = None


class PollAnswer(_Frame):
    """version covers `attempts`; durable_through: by stream asked about, the last reading that is safe with billing.

    waited_ms: how long the portal kept the question before it read what it answers: leases run from then at least.
    """

    version: int
    server_time: datetime
    attempts: list[DesiredAttempt]
    durable_through: dict[str, int]
    waited_ms: int = Field(default=0, ge=0)


class AttemptStatus(_Request):
    """How an attempt fares. state `exited` is said once everything of it (log, outputs) has been delivered."""

    attempt_id: str = Field(max_length=40)
    state: Literal["running", "exited"]
    reason: Reason | None = None
    exit_code: int | None = Field(default=None, ge=-1, le=255)
    detail: str = Field(default="", max_length=500)
    log_bytes: int = Field(default=0, ge=0, le=INTEGER_MAX)


class Report(_Request):
    """The body that is signed: statuses of attempts, readings of streams. sent_at_ms: the agent's clock, for people.

    runs: readings that follow each other, by column; readings: the same one by one, as agents once said them.
    """

    node_id: str = Field(max_length=40)
    sent_at_ms: int = Field(ge=0, le=INTEGER_MAX)
    statuses: list[AttemptStatus] = Field(default_factory=list, max_length=ATTEMPTS_PER_NODE_MAX)
    readings: list[Reading] = Field(default_factory=list, max_length=REPORT_READINGS_MAX)
    runs: list[ReadingRun] = Field(default_factory=list, max_length=RUN_READINGS_MAX)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if sum(run.count for run in self.runs) > RUN_READINGS_MAX:
            raise ValueError(f"a report has at most {RUN_READINGS_MAX} readings in its runs")
        return self

    @property
    def streams(self) -> set[str]:
        """Which its readings are of."""
        return {reading.stream_id for reading in self.readings} | {run.stream_id for run in self.runs}


class ReportAnswer(_Frame):
    """accepted: attempts whose status was taken or needs no repeating; durable_through: as in
    PollAnswer, of the streams in the report."""

    accepted: list[str]
    durable_through: dict[str, int]


class LogAnswer(_Frame):
    """next_offset: where the server's copy ends; the agent goes on from there, whatever it sent."""

    next_offset: int


class OutputFile(_Request):
    path: str = Field(min_length=1, max_length=500)
    size_bytes: int = Field(ge=0, le=OUTPUTS_MAX_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class OutputsRequest(_Request):
    files: list[OutputFile] = Field(max_length=OUTPUT_FILES_MAX)


class Upload(_Frame):
    path: str
    url: str


class OutputsAnswer(_Frame):
    """uploads: the files the server does not have yet; PUT each to its URL, then ask again until none is left."""

    uploads: list[Upload]
