"""A challenge: what is to be computed, all of it derived from one nonce that nobody knows before it is issued."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from market.canonical import tagged_hash

ENTRY_MAX, SIZE_MAX = 31, 16_384
"""31² · 16,384 < 2²⁴: every partial sum of a product is exact in FP32, in whatever order it is added."""
assert ENTRY_MAX**2 * SIZE_MAX < 2**24

NONCE_BYTES = 32
LEAF_ROWS = 32
OPENED_PAIRS = 256
MEMORY_PAIRS = 64
ROUNDS_MAX = 4096
MATRIX_TAG = "gridbay/proof/matrix/v1"
ROUND_TAG = "gridbay/proof/round/v1"
DRAW_TAG = "gridbay/proof/draw/v1"
MEMORY_TAG = "gridbay/proof/memory/v1"

Pair = tuple[int, int]
"""A round and a row of it."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """size: rows and columns of each matrix; rounds: products in the chain; kept: the last of them that stay in the
    device's memory for the memory check (0: no such check). device: the GPU's UUID, or `cpu`."""

    challenge_id: str
    node_id: str
    device: str
    nonce: bytes
    size: int
    rounds: int
    kept: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for what could not be exact, or not be committed to."""
        if not LEAF_ROWS <= self.size <= SIZE_MAX or self.size % LEAF_ROWS:
            raise ValueError(f"size {self.size}: a multiple of {LEAF_ROWS} up to {SIZE_MAX} is needed")
        if not 1 <= self.rounds <= ROUNDS_MAX or not 0 <= self.kept <= self.rounds:
            raise ValueError(f"{self.rounds} rounds, {self.kept} kept: 1 to {ROUNDS_MAX} rounds, no more kept than run")
        if len(self.nonce) != NONCE_BYTES:
            raise ValueError(f"a nonce has {NONCE_BYTES} bytes")

    @property
    def matrix_seed(self) -> bytes:
        """The seed of B, bound to this challenge, node and device."""
        return self._seed(MATRIX_TAG)

    @property
    def first_seed(self) -> bytes:
        """The seed of A_0."""
        return self._seed(ROUND_TAG)

    @property
    def operations(self) -> int:
        """Multiplications and additions of the whole chain."""
        return 2 * self.size**3 * self.rounds

    @property
    def kept_bytes(self) -> int:
        """Device memory that the kept products fill, four bytes an entry."""
        return 4 * self.size**2 * self.kept

    def _seed(self, tag: str) -> bytes:
        bound = "\n".join((self.challenge_id, self.node_id, self.device)).encode()
        return tagged_hash(tag, self.nonce, bound)


def next_seed(seed: bytes, digest: bytes) -> bytes:
    """The seed of A_{t+1}: nobody can begin a round before the one before it is done."""
    return hashlib.sha256(seed + digest).digest()


def seed_chain(first: bytes, digests: Sequence[bytes]) -> list[bytes]:
    """The seed of each round, given what each round committed to."""
    seeds = [first]
    for digest in digests[:-1]:
        seeds.append(next_seed(seeds[-1], digest))
    return seeds


def memory_seed(memory_nonce: bytes, round_seed: bytes) -> bytes:
    """What keys the memory fingerprint of one kept product; its bytes 16 to 23 are used as a round's are."""
    return tagged_hash(MEMORY_TAG, memory_nonce, round_seed)


def draw(secret: bytes, count: int, size: int, first_round: int, end_round: int) -> list[Pair]:
    """`count` pairs, uniform over every row of the rounds first_round .. end_round - 1, with repetition.

    secret: 32 bytes drawn after what they open was committed to.
    """
    rows = size * (end_round - first_round)
    pairs = []
    for number in range(count):
        place = int.from_bytes(tagged_hash(DRAW_TAG, secret, number.to_bytes(4, "little")), "little") % rows
        pairs.append((first_round + place // size, place % size))
    return pairs
