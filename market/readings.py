"""Usage readings: cumulative counters of a lease, numbered and chained by hash (docs/formats/reading.md)."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

READING_TAG = "gridbay/reading/v1"
_TAGGED = READING_TAG.encode() + b"\n"
GENESIS = "0" * 64
COUNTER_MAX = 2**53 - 1

Counter = Annotated[int, Field(ge=0, le=COUNTER_MAX)]
Name = Annotated[str, Field(max_length=40, pattern=r"^[^\x00]*$")]
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

    lease_id: Name
    stream_id: Name
    sequence: int = Field(ge=1, le=COUNTER_MAX)
    run_ms: Counter
    cpu_ms: Counter = 0
    gpu_busy_ms: Counter = 0
    memory_peak_bytes: Counter = 0
    taken_at_ms: Counter
    final: bool = False
    previous_hash: Hash

    def canonical(self) -> bytes:
        """Its canonical JSON, as market/canonical.py gives it; written out, because every reading is hashed."""
        return (
            f'{{"cpu_ms":{self.cpu_ms},"final":{"true" if self.final else "false"},"gpu_busy_ms":{self.gpu_busy_ms},'
            f'"lease_id":{quoted(self.lease_id)},"memory_peak_bytes":{self.memory_peak_bytes},'
            f'"previous_hash":"{self.previous_hash}","run_ms":{self.run_ms},"sequence":{self.sequence},'
            f'"stream_id":{quoted(self.stream_id)},"taken_at_ms":{self.taken_at_ms}}}'
        ).encode()

    @property
    def hash(self) -> str:
        """The hash that the next reading of the stream names: tagged_hash of its canonical JSON."""
        return hashlib.sha256(_TAGGED + self.canonical()).hexdigest()


@lru_cache(maxsize=10_000)
def quoted(name: str) -> str:
    """A name as canonical JSON has it."""
    return json.dumps(name, ensure_ascii=False)
