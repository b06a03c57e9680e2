"""The generator: Philox4x32-10 (Random123), counter-based, so that any row of a matrix can be made alone.

One counter gives four words of 32 bits, that is 16 entries of a row.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from market.proof.challenge import ENTRY_MAX

ENTRIES_PER_BLOCK = 16
CHUNK_BLOCKS = 1 << 14
ROUNDS = 10

Entries = NDArray[np.int8]
Words = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
ENTRY_OF_BYTE: Entries = ((np.arange(256) * (2 * ENTRY_MAX + 1) >> 8) - ENTRY_MAX).astype(np.int8)
"""What entry a byte of the stream is."""


def philox4x32(counter: Sequence[Words | np.uint64], key: tuple[int, int]) -> list[Words]:
    """The four output words, each below 2³², of a counter of four words (arrays are broadcast) under a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        product0 = _MULTIPLIERS[0] * c0
        product1 = _MULTIPLIERS[1] * c2
        c0 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0)
        c2 = (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return [np.asarray(word, dtype=np.uint64) for word in (c0, c1, c2, c3)]


def rows(seed: bytes, size: int, indices: Sequence[int] | NDArray[np.int64]) -> Entries:
    """These rows of the size-by-size matrix of a seed: entries in [-31, 31], one array row for each index.

    seed: 32 bytes, of which the first 16 are used: key words 0 and 1, counter words 2 and 3. size: a multiple of 16.
    """
    key0, key1, high0, high1 = (int(word) for word in np.frombuffer(seed[:16], dtype="<u4"))
    chosen = np.asarray(indices, dtype=np.uint64).reshape(-1, 1)
    blocks = size // ENTRIES_PER_BLOCK
    columns = np.arange(blocks, dtype=np.uint64).reshape(1, -1)
    stream = np.empty((len(chosen), blocks, 4), dtype="<u4")
    step = max(1, CHUNK_BLOCKS // blocks)  # A chunk stays in the processor's cache.
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        wide = np.broadcast_to(part, (len(part), blocks))
        for place, word in enumerate(philox4x32((columns, wide, np.uint64(high0), np.uint64(high1)), (key0, key1))):
            stream[start : start + step, :, place] = word
    return ENTRY_OF_BYTE[stream.view(np.uint8).reshape(len(chosen), size)]


def matrix(seed: bytes, size: int) -> Entries:
    """The whole matrix of a seed."""
    return rows(seed, size, range(size))
