"""The bytes of docs/formats/proof.md, computed anew in plain Python by whoever has only that page."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from market.proof import arithmetic, philox
from market.proof.challenge import Challenge, draw
from market.proof.commitment import Opening, opened

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
VECTOR: dict[str, Any] = json.loads((FORMATS / "vectors" / "proof.json").read_text())
ASKED = VECTOR["challenge"]
SIZE, ROUNDS, KEPT = ASKED["size"], ASKED["rounds"], ASKED["kept"]
FULL, HALF = 2**64 - 1, 2**32 - 1


def tagged(tag: str, *parts: bytes) -> bytes:
    return hashlib.sha256(tag.encode() + b"\n" + b"".join(parts)).digest()


def philox_block(counter: list[int], key: list[int]) -> bytes:
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & HALF, (p0 >> 32) ^ c[3] ^ k[1], p0 & HALF]
        k = [(k[0] + 0x9E3779B9) & HALF, (k[1] + 0xBB67AE85) & HALF]
    return b"".join(word.to_bytes(4, "little") for word in c)


def row(seed: bytes, index: int) -> list[int]:
    k0, k1, h0, h1 = (int.from_bytes(seed[at : at + 4], "little") for at in (0, 4, 8, 12))
    stream = b"".join(philox_block([block, index, h0, h1], [k0, k1]) for block in range(SIZE // 16))
    return [63 * octet // 256 - 31 for octet in stream]


def mix64(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & FULL
    x = (x ^ x >> 27) * 0x94D049BB133111EB & FULL
    return x ^ x >> 31


def fingerprint(sums: Sequence[int], seed: bytes) -> int:
    start = int.from_bytes(seed[16:24], "little")
    keys = (mix64(start + j * 0x9E3779B97F4A7C15 & FULL) for j in range(SIZE))
    return sum(mix64(value + key & FULL) for value, key in zip(sums, keys, strict=True)) & FULL


def tree_root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:left]) + tree_root(leaves[left:])).digest()


def root_of(fingerprints: Sequence[int]) -> bytes:
    data = [value.to_bytes(8, "little") for value in fingerprints]
    leaves = [tagged("gridbay/proof/leaf/v1", b"".join(data[at : at + 32])) for at in range(0, SIZE, 32)]
    return tree_root(leaves)


def test_a_chain_is_as_described() -> None:
    bound = "\n".join((ASKED["challenge_id"], ASKED["node_id"], ASKED["device"])).encode()
    nonce = bytes.fromhex(ASKED["nonce"])
    seed_of_b, seed = (tagged(f"gridbay/proof/{what}/v1", nonce, bound) for what in ("matrix", "round"))
    assert seed_of_b.hex() == VECTOR["matrix_seed"]
    b = [row(seed_of_b, index) for index in range(SIZE)]
    assert b[0] == VECTOR["matrix_first_row"]
    columns = list(zip(*b, strict=True))
    for number, told in enumerate(VECTOR["rounds"]):
        assert seed.hex() == told["seed"]
        a = [row(seed, index) for index in range(SIZE)]
        c = [[sum(x * y for x, y in zip(left, column, strict=True)) for column in columns] for left in a]
        assert (a[0], c[0]) == (told["first_row"], told["product_first_row"])
        values = [fingerprint(sums, seed) for sums in c]
        assert [f"{value:016x}" for value in values] == told["fingerprints"]
        assert root_of(values).hex() == told["root"]
        if number >= ROUNDS - KEPT:
            keyed = tagged("gridbay/proof/memory/v1", bytes.fromhex(VECTOR["memory_nonce"]), seed)
            assert keyed.hex() == told["memory_seed"]
            assert root_of([fingerprint(sums, keyed) for sums in c]).hex() == told["memory_root"]
        seed = hashlib.sha256(seed + bytes.fromhex(told["root"])).digest()


@pytest.mark.parametrize(
    ("secret", "pairs", "first"), [("secret", "pairs", 0), ("memory_secret", "memory_pairs", ROUNDS - KEPT)]
)
def test_pairs_are_drawn_as_described(secret: str, pairs: str, first: int) -> None:
    key = bytes.fromhex(VECTOR[secret])
    for number, pair in enumerate(VECTOR[pairs]):
        digest = tagged("gridbay/proof/draw/v1", key, number.to_bytes(4, "little"))
        place = int.from_bytes(digest, "little") % (SIZE * (ROUNDS - first))
        assert pair == [first + place // SIZE, place % SIZE]
    assert [list(pair) for pair in draw(key, 8, SIZE, first, ROUNDS)] == VECTOR[pairs]


def test_openings_lead_to_the_roots_and_show_the_rows() -> None:
    for shown, root in [(item, "root") for item in VECTOR["openings"]] + [
        (item, "memory_root") for item in VECTOR["memory_openings"]
    ]:
        told = VECTOR["rounds"][shown["round"]]
        opening = Opening(bytes.fromhex(shown["leaf"]), tuple(map(bytes.fromhex, shown["siblings"])))
        value = opened(bytes.fromhex(told[root]), SIZE, shown["row"], opening)
        assert value is not None
        if root == "root":
            assert f"{value:016x}" == told["fingerprints"][shown["row"]]


def test_our_own_code_agrees() -> None:
    asked = Challenge(**{**ASKED, "nonce": bytes.fromhex(ASKED["nonce"])})
    assert asked.matrix_seed.hex() == VECTOR["matrix_seed"]
    first = VECTOR["rounds"][0]
    left, right = philox.matrix(asked.first_seed, SIZE), philox.matrix(asked.matrix_seed, SIZE)
    values = arithmetic.fingerprints(arithmetic.product(left, right), arithmetic.column_keys(asked.first_seed, SIZE))
    assert [f"{int(value):016x}" for value in values] == first["fingerprints"]


def test_the_page_names_its_vectors_and_they_their_page() -> None:
    assert "vectors/proof.json" in (FORMATS / "proof.md").read_text()
    assert VECTOR["about"] == "docs/formats/proof.md"
