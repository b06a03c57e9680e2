"""Merkle trees: every leaf has a way to the root, and no other way leads there."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from market import merkle

trees = st.integers(min_value=1, max_value=70).map(lambda n: [sha256(bytes([i])).digest() for i in range(n)])


@given(trees, st.integers(min_value=0))
def test_each_leaf_leads_to_the_root(leaves: list[bytes], at: int) -> None:
    index = at % len(leaves)
    path = merkle.path(merkle.levels(leaves), index)
    assert merkle.root_from_path(leaves[index], index, len(leaves), path) == merkle.root(leaves)


@given(trees, st.integers(min_value=0), st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_changed_leaf_index_count_or_path_does_not(leaves: list[bytes], at: int, bit: int, byte: int) -> None:
    index, count = at % len(leaves), len(leaves)
    path = merkle.path(merkle.levels(leaves), index)
    root = merkle.root(leaves)
    forged = bytes([leaves[index][0] ^ (byte or 1)]) + leaves[index][1:]
    assert merkle.root_from_path(forged, index, count, path) != root
    assert merkle.root_from_path(leaves[index], index, count, [*path, root]) is None
    assert merkle.root_from_path(leaves[index], count, count, path) is None
    if path:
        assert merkle.root_from_path(leaves[index], index, count, path[:-1]) is None
        assert merkle.root_from_path(leaves[index], index ^ 1, count, path) != root
        spoiled = [*path]
        spoiled[bit % len(path)] = sha256(b"other").digest()
        assert merkle.root_from_path(leaves[index], index, count, spoiled) != root


def test_a_node_is_not_a_leaf() -> None:
    """The tags keep an inner node from being passed off as a leaf of a smaller tree."""
    leaves = [sha256(bytes([i])).digest() for i in range(4)]
    rows = merkle.levels(leaves)
    assert merkle.root_from_path(rows[1][0], 0, 4, [rows[1][1]]) is None
