"""The arithmetic of a proof: exact whatever computes it, and spoilt by whatever computes it with fewer bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.proof import arithmetic, philox
from market.proof.challenge import ENTRY_MAX, SIZE_MAX

SEEDS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_generator_is_random123s(counter: tuple[int, ...], key: tuple[int, int], words: tuple[int, ...]) -> None:
    found = philox.philox4x32([np.array([word], dtype=np.uint64) for word in counter], key)
    assert tuple(int(word[0]) for word in found) == words


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, blocks=st.integers(2, 20), data=st.data())
def test_a_row_alone_is_the_row_of_the_matrix(seed: bytes, blocks: int, data: st.DataObject) -> None:
    size = 16 * blocks
    whole = philox.matrix(seed, size)
    indices = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8))
    assert np.array_equal(philox.rows(seed, size, indices), whole[indices])
    assert whole.min() >= -ENTRY_MAX and whole.max() <= ENTRY_MAX


def test_every_entry_comes_and_none_much_more_often_than_another() -> None:
    values, counts = np.unique(philox.matrix(bytes(range(32)), 1024), return_counts=True)
    assert list(values) == list(range(-ENTRY_MAX, ENTRY_MAX + 1))
    assert counts.max() / counts.min() < 5 / 4 * 1.05, "a byte is one of 256, an entry one of 63"


def _halves(seed: bytes, size: int, rows: int) -> tuple[philox.Entries, philox.Entries]:
    left = philox.rows(seed, size, range(rows))
    return left, philox.rows(seed[::-1], size, range(rows)).T


@pytest.mark.parametrize("size", [32, 1024, 8192, SIZE_MAX])
@pytest.mark.parametrize("extreme", [False, True], ids=["random", "largest"])
def test_a_product_in_fp32_is_the_product_in_int64(size: int, extreme: bool) -> None:
    left, right = _halves(bytes(range(32)), size, 16)
    if extreme:
        left, right = np.full_like(left, ENTRY_MAX), np.full_like(right, ENTRY_MAX)
        right[:, ::2] = -ENTRY_MAX
    exact = left.astype(np.int64) @ right.astype(np.int64)
    assert np.array_equal(arithmetic.product(left, right).astype(np.int64), exact)
    assert abs(exact).max() < 2**24


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([64, 512, 4096]))
def test_the_order_of_the_sum_makes_no_difference(seed: bytes, size: int) -> None:
    left, right = _halves(seed, size, 4)
    shuffled = np.random.default_rng(int.from_bytes(seed[:8], "little")).permutation(size)
    mixed = arithmetic.product(left[:, shuffled], right[shuffled])
    assert np.array_equal(mixed, arithmetic.product(left, right))


def test_one_beyond_the_bound_is_no_longer_exact() -> None:
    """The bound is not a habit: 32 for 31 at the largest size reaches 2²⁴, and the next addition is lost."""
    over = (ENTRY_MAX + 1) ** 2 * SIZE_MAX
    assert over == 2**24
    assert np.float32(over) + np.float32(1) == np.float32(over)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([32, 96, 544, 1056]))
def test_the_verifiers_slabs_are_the_whole_product(seed: bytes, size: int) -> None:
    left = philox.rows(seed, size, range(8))
    whole = arithmetic.product(left, philox.matrix(seed[::-1], size))
    assert np.array_equal(arithmetic.product_with_generated(left, seed[::-1], size), whole)


def _slow_mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, values=st.lists(st.integers(1 - 2**24, 2**24 - 1), min_size=32, max_size=32))
def test_a_fingerprint_is_the_sum_of_mixed_keyed_entries(seed: bytes, values: list[int]) -> None:
    start = int.from_bytes(seed[16:24], "little")
    keys = [_slow_mix((start + j * 0x9E3779B97F4A7C15) % 2**64) for j in range(32)]
    expected = sum(_slow_mix((value + key) % 2**64) for value, key in zip(values, keys, strict=True)) % 2**64
    sums = np.array([values], dtype=np.float32)
    assert int(arithmetic.fingerprints(sums, arithmetic.column_keys(seed, 32))[0]) == expected


def test_a_fingerprint_is_not_linear_and_sees_one_bit_and_one_swap() -> None:
    keys = arithmetic.column_keys(bytes(range(32)), 64)
    sums = arithmetic.product(*_halves(bytes(32), 64, 64))
    whole = arithmetic.fingerprints(sums, keys)
    added = arithmetic.fingerprints(sums[:1] + sums[1:2], keys)
    assert int(added[0]) != (int(whole[0]) + int(whole[1])) % 2**64
    one_off, swapped = sums.copy(), sums.copy()
    one_off[0, 5] += 1
    swapped[0, [3, 4]] = swapped[0, [4, 3]]
    assert sums[0, 3] != sums[0, 4]
    for changed in (one_off, swapped):
        assert list(np.flatnonzero(arithmetic.fingerprints(changed, keys) != whole)) == [0]


@pytest.mark.parametrize("name", ["fp16 output", "fp8 input"])
def test_fewer_bits_change_nearly_every_row(name: str) -> None:
    seed, size = bytes(range(32)), 256
    left, right = philox.matrix(seed, size), philox.matrix(seed[::-1], size)
    exact = arithmetic.product(left, right)
    spoilt = {"fp16 output": exact.astype(np.float16).astype(np.float32), "fp8 input": fp8(left) @ fp8(right)}[name]
    keys = arithmetic.column_keys(seed, size)
    wrong = np.mean(arithmetic.fingerprints(spoilt, keys) != arithmetic.fingerprints(exact, keys))
    assert wrong > 0.99
    halves = left.astype(np.float16).astype(np.float32) @ right.astype(np.float16).astype(np.float32)
    assert np.array_equal(halves, exact), "FP16 inputs with an FP32 accumulator are as good as FP32"


def fp8(entries: philox.Entries) -> arithmetic.Sums:
    """E4M3: four significant bits, so integers above 16 lose their last."""
    mantissa, exponent = np.frexp(entries.astype(np.float32))
    return np.ldexp(np.round(mantissa * 16) / 16, exponent).astype(np.float32)
