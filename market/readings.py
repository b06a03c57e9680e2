"""Usage readings: cumulative counters of a lease, numbered and chained by hash (docs/formats/reading.md)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from market.canonical import canonical_json, tagged_hash

READING_TAG = "gridbay/reading/v1"
GENESIS = "0" * 64
COUNTER_MAX = 2**53 - 1

Counter = Annotated[int, Field(ge=0, le=COUNTER_MAX)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Reading(BaseModel):
    """One reading. All counters are cumulative since the stream began, so a lost or doubled one changes nothing.

    run_ms: milliseconds the customer's command has run; cpu_ms: CPU time it used;
    memory_peak_bytes: the most it held; gpu_busy_ms: milliseconds its GPUs were busy (sum);
    taken_at_ms: the agent's clock, Unix milliseconds, for people only (money never rests on it);
    final: the command has ended and no further reading follows;
    previous_hash: of the reading before it in the stream, or 64 zeros.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_id: str = Field(max_length=40)
    stream_id: str = Field(max_length=40)
    sequence: int = Field(ge=1, le=COUNTER_MAX)
    run_ms: Counter
    cpu_ms: Counter = 0
    gpu_busy_ms: Counter = 0
    memory_peak_bytes: Counter = 0
    taken_at_ms: Counter
    final: bool = False
    previous_hash: Hash

    @property
    def hash(self) -> str:
        """The hash that the next reading of the stream names."""
        return tagged_hash(READING_TAG, canonical_json(self.model_dump(mode="json"))).hex()
