"""The agent's side of a proof: what it is asked, told and asks to be taken (docs/formats/proof.md).

GET  /agent/v1/proofs                             -> ProofsAnswer   (what waits for this node)
POST /agent/v1/proofs/{id}/begin                  -> ProofIssue     (the nonce, from the barrier on; the clock starts)
POST /agent/v1/proofs/{id}/commit   ProofCommit   -> ProofDraw      (the clock stops; what is drawn)
POST /agent/v1/proofs/{id}/memory   ProofMemory   -> ProofMemoryDraw
POST /agent/v1/proofs/{id}/network                -> ProofNetwork   (where storage takes and gives bytes to be timed)
POST /agent/v1/proofs/{id}/answer   ProofAnswer   -> 204

No time that an agent tells is asked for. Repeating a request is answered as it was the first time.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from market.measured import VALUE_MAX
from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, ROUNDS_MAX

WAITING_MAX = 64
SIBLINGS_MAX = 9
"""The height of the tree over 16,384 rows in leaves of 32."""
NETWORK_BYTES = 16 * 2**20
"""Sent to storage and fetched again, to measure the way there."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Leaf = Annotated[str, Field(pattern=r"^[0-9a-f]{512}$")]
Measured = Annotated[int, Field(ge=0, le=VALUE_MAX)]


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WaitingProof(_Frame):
    """device: a GPU's UUID, or `cpu`. starts_in_ms: until the barrier, as the portal counts."""

    challenge_id: str
    device: str
    starts_in_ms: int


class ProofsAnswer(_Frame):
    proofs: list[WaitingProof]


class ProofIssue(_Frame):
    """nonce: 32 bytes, hexadecimal; None: the barrier is starts_in_ms away, ask again then."""

    challenge_id: str
    node_id: str
    device: str
    starts_in_ms: int
    nonce: Hash | None
    size: int
    rounds: int
    kept: int


class ProofCommit(_Request):
    """One root for each round."""

    roots: list[Hash] = Field(min_length=1, max_length=ROUNDS_MAX)


class ProofDraw(_Frame):
    """secret: what the opened pairs are drawn by."""

    secret: Hash
    memory_nonce: Hash


class ProofMemory(_Request):
    """One root for each kept round, under the memory nonce."""

    roots: list[Hash] = Field(max_length=ROUNDS_MAX)


class ProofMemoryDraw(_Frame):
    secret: Hash


class ProofNetwork(_Frame):
    """Signed URLs of one object of the node's own, which takes exactly so many bytes."""

    upload_url: str
    download_url: str
    size_bytes: int


class ShownRow(_Request):
    """leaf: 32 fingerprints; siblings: upwards from it."""

    leaf: Leaf
    siblings: list[Hash] = Field(max_length=SIBLINGS_MAX)


class NodeSpeeds(_Request):
    """What the agent measured beside the proof, in bytes a second, by the names of market.measured; None: it did not.

    Its own word, and marked as such. pcie: of the proven device; disk and network: of the whole node.
    """

    pcie_to_device: Measured | None = None
    pcie_to_host: Measured | None = None
    disk_write: Measured | None = None
    disk_read: Measured | None = None
    network_up: Measured | None = None
    network_down: Measured | None = None


class ProofAnswer(_Request):
    """engine: what computed it, for people. multiprocessors: how many its runtime counts, to be doubted by."""

    openings: list[ShownRow] = Field(max_length=OPENED_PAIRS)
    memory_openings: list[ShownRow] = Field(default_factory=list, max_length=MEMORY_PAIRS)
    engine: str = Field(default="", max_length=40)
    multiprocessors: int | None = Field(default=None, ge=0, le=10_000)
    speeds: NodeSpeeds = NodeSpeeds()
