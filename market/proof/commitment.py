"""Commitments: one Merkle root over a round's fingerprints, and the openings of single rows.

A leaf covers 32 rows, so that building the tree costs a GPU's host a third of a millisecond, not the time of a product.
"""

from dataclasses import dataclass

import numpy as np

from market import merkle
from market.canonical import tagged_hash
from market.proof.arithmetic import Fingerprints
from market.proof.challenge import LEAF_ROWS

LEAF_TAG = "gridbay/proof/leaf/v1"
_LEAF_BYTES = 8 * LEAF_ROWS


@dataclass(frozen=True, slots=True)
class Opening:
    """The leaf that a row lies in: the fingerprints of its 32 rows, 8 bytes each, little-endian; siblings upwards."""

    leaf: bytes
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """The tree over the fingerprints of one round."""

    fingerprints: bytes
    levels: list[list[bytes]]

    @property
    def root(self) -> bytes:
        return self.levels[-1][0]

    def open(self, row: int) -> Opening:
        place = row // LEAF_ROWS
        leaf = self.fingerprints[place * _LEAF_BYTES : (place + 1) * _LEAF_BYTES]
        return Opening(leaf, tuple(merkle.path(self.levels, place)))


def commit(fingerprints: Fingerprints) -> Committed:
    """The tree over a round's fingerprints, one a row."""
    data = fingerprints.astype("<u8").tobytes()
    leaves = [tagged_hash(LEAF_TAG, data[start : start + _LEAF_BYTES]) for start in range(0, len(data), _LEAF_BYTES)]
    return Committed(data, merkle.levels(leaves))


def opened(root: bytes, size: int, row: int, opening: Opening) -> int | None:
    """The fingerprint that the opening shows for a row of a round of `size` rows; None if it does not lead there."""
    if len(opening.leaf) != _LEAF_BYTES:
        return None
    leaf, place = tagged_hash(LEAF_TAG, opening.leaf), row // LEAF_ROWS
    if merkle.root_from_path(leaf, place, size // LEAF_ROWS, opening.siblings) != root:
        return None
    return int(np.frombuffer(opening.leaf, dtype="<u8")[row % LEAF_ROWS])
