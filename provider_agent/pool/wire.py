"""Owns what the agent and its pool child say to each other: one JSON line asks, one answers, over a unix socket."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LINE_BYTES_MAX = 1024 * 1024
GPU_RESOURCE_PREFIX = "gpu-"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Reservation(_Message):
    """What an attempt holds in Ray's books. name: of the attempt that it was made for first; cpus may be a fraction."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    cpus: Annotated[float, Field(ge=0)]
    memory_bytes: Annotated[int, Field(ge=0)]
    gpu_uuids: tuple[str, ...] = ()

    def resources(self) -> dict[str, float]:
        """As Ray names them: each GPU by its UUID, and their number for Ray's own books."""
        wanted = {"CPU": self.cpus, "memory": float(self.memory_bytes), "GPU": float(len(self.gpu_uuids))}
        wanted |= {GPU_RESOURCE_PREFIX + uuid: 1.0 for uuid in self.gpu_uuids}
        return {name: amount for name, amount in wanted.items() if amount > 0}


class Reserve(_Message):
    """Reserve, and start the attempt's minder if a folder is given."""

    op: Literal["reserve"] = "reserve"
    reservation: Reservation
    attempt_dir: str | None
    seconds_max: float


class Release(_Message):
    op: Literal["release"] = "release"
    name: str


class Ask(_Message):
    op: Literal["books", "health"]


Request = Annotated[Reserve | Release | Ask, Field(discriminator="op")]


class Refusal(StrEnum):
    """Why the child says no."""

    NO_CAPACITY = "no_capacity"
    LAUNCH_FAILED = "launch_failed"
    UNAVAILABLE = "unavailable"
    BAD_REQUEST = "bad_request"


class Reply(_Message):
    result: dict[str, Any] = {}
    refusal: Refusal | None = None
    detail: str = ""


class Books(_Message):
    """What Ray's books say. free: resource name -> amount that nobody reserved."""

    reserved: dict[str, dict[str, float]]
    pending: tuple[str, ...]
    free: dict[str, float]
    total: dict[str, float]
