"""Merkle trees over salted leaves, with tags that keep leaves and nodes apart (docs/formats/epoch.md).

The shape is RFC 6962's: an odd last node moves up unchanged, so no leaf is ever counted twice.
"""

import hashlib
from collections.abc import Sequence

_NODE = b"\x01"
BLOCK = 1024
"""Leaves of a block: a power of two, so that a block is a whole part of every tree, all their roots on one level."""
EMPTY_ROOT = hashlib.sha256(b"gridbay/empty/v1").digest()


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Every level of the tree, the leaves first and the root last. leaves: 32 bytes each, at least one."""
    rows = [list(leaves)]
    while len(rows[-1]) > 1:
        row = rows[-1]
        above = [_parent(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        rows.append(above + ([row[-1]] if len(row) % 2 else []))
    return rows


def root(leaves: Sequence[bytes]) -> bytes:
    """The root of the leaves (32 bytes each); of none, a fixed constant."""
    return levels(leaves)[-1][0] if leaves else EMPTY_ROOT


class Growing:
    """A tree of which only the roots of its whole parts are kept: for leaves that are read one by one."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """leaf: 32 bytes; the next one from the left."""
        node, number = leaf, self.count
        while number & 1:
            node = _parent(self._parts.pop(), node)
            number >>= 1
        self._parts.append(node)
        self.count += 1

    def root(self) -> bytes:
        """The same as `root` of all leaves so far."""
        if not self._parts:
            return EMPTY_ROOT
        *parts, node = self._parts
        for part in reversed(parts):
            node = _parent(part, node)
        return node


def path(rows: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The siblings on the way from leaf `index` to the root, lowest first."""
    siblings = []
    for row in rows[:-1]:
        sibling = index ^ 1
        if sibling < len(row):
            siblings.append(row[sibling])
        index //= 2
    return siblings


def path_over_blocks(roots: Sequence[bytes], block: Sequence[bytes], index: int) -> list[bytes]:
    """As `path`, from the roots of all blocks and the leaves of the one that leaf `index` is in."""
    return path(levels(block), index % BLOCK) + path(levels(roots), index // BLOCK)


def root_from_path(leaf: bytes, index: int, count: int, siblings: Sequence[bytes]) -> bytes | None:
    """The root that leaf `index` of `count` leads to by these siblings; None if they do not fit that shape."""
    if not 0 <= index < count:
        return None
    rest, node, width = list(siblings), leaf, count
    while width > 1:
        if index ^ 1 < width:
            if not rest:
                return None
            sibling = rest.pop(0)
            node = _parent(sibling, node) if index % 2 else _parent(node, sibling)
        index, width = index // 2, (width + 1) // 2
    return node if not rest else None
