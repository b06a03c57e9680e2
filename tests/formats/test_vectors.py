"""The bytes of docs/formats never change, and a reader who has only those pages computes the same ones."""

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from market import merkle
from market.agent_api import Report
from market.canonical import canonical_json
from market.readings import Reading
from market.receipts import EpochRoot, PublicLine, Receipt, line_problems, line_salt, pseudonym, verify_receipt
from market.signing import REPORT_TAG, NodeKey, verify

VECTORS = Path(__file__).parents[2] / "docs" / "formats" / "vectors"


def vector(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


READING, EPOCH, RECEIPT = vector("reading.json"), vector("epoch.json"), vector("receipt.json")


# What the pages say, written anew with nothing but the standard library.


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def tagged(tag: str, *parts: bytes) -> bytes:
    return hashlib.sha256(tag.encode() + b"\n" + b"".join(parts)).digest()


def keyed(secret: bytes, tag: str, text: str) -> bytes:
    return hmac.new(secret, f"{tag}\n{text}".encode(), hashlib.sha256).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962's own, recursive definition: the left part is the largest power of two below the count."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + tree_root(leaves[:left]) + tree_root(leaves[left:])).digest()


def test_canonical_json_is_as_described() -> None:
    for case in READING["canonical_json"]:
        assert case["canonical"].encode() == canonical(case["value"]) == canonical_json(case["value"])


def test_readings_hash_and_chain_as_described() -> None:
    previous = "0" * 64
    for case in READING["readings"]:
        reading = Reading.model_validate(case["reading"])
        assert case["canonical"].encode() == canonical(case["reading"])
        assert case["hash"] == tagged("gridbay/reading/v1", case["canonical"].encode()).hex() == reading.hash
        assert reading.previous_hash == previous
        previous = case["hash"]


def test_reports_are_signed_as_described() -> None:
    report = READING["report"]
    body, signature = report["body"].encode(), bytes.fromhex(report["signature"])
    digest = tagged("gridbay/report/v1", body)
    assert digest.hex() == report["signed_hash"]
    assert Ed25519PrivateKey.from_private_bytes(bytes.fromhex(report["seed"])).sign(digest) == signature
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(report["public_key"])).verify(signature, digest)
    assert NodeKey(bytes.fromhex(report["seed"])).sign(REPORT_TAG, body) == report["signature"]
    assert verify(report["public_key"], REPORT_TAG, body, report["signature"])
    assert not verify(report["public_key"], REPORT_TAG, body + b" ", report["signature"])
    assert [reading.hash for reading in Report.model_validate_json(body).readings] == [
        case["hash"] for case in READING["readings"]
    ]


def test_pseudonyms_salts_and_leaves_are_as_described() -> None:
    secret = bytes.fromhex(EPOCH["secret"])
    for case in EPOCH["pseudonyms"]:
        expected = keyed(secret, "gridbay/pseudonym/v1", case["party"])[:16].hex()
        assert case["pseudonym"] == expected == pseudonym(secret, case["party"])
    for case in EPOCH["lines"]:
        line = PublicLine.model_validate(case["line"])
        salt = keyed(secret, "gridbay/salt/v1", line.line_id)
        assert case["salt"] == salt.hex() == line_salt(secret, line.line_id).hex()
        assert case["leaf"] == tagged("gridbay/leaf/v1", salt, canonical(case["line"])).hex() == line.leaf(salt).hex()
        assert line_problems(line) == []


def test_a_price_follows_from_what_it_was_made_of() -> None:
    secret = bytes.fromhex(EPOCH["secret"])
    for case in EPOCH["prices"]:
        line, given = PublicLine.model_validate(case["line"]), defaultdict(int, case["line"])
        assert case["leaf"] == line.leaf(keyed(secret, "gridbay/salt/v1", line.line_id)).hex()
        assert line_problems(line) == []
        beside = Fraction(given["cpu_milli"] * given["cpu_microusd_per_hour"], 1000)
        for kind in ("memory", "disk"):
            beside += Fraction(given[f"{kind}_bytes"] * given[f"{kind}_microusd_per_gib_hour"], 2**30)
        asked = given["unit_microusd_per_hour"] + beside * 1000 // given["quantity_milli"]
        assert case["asked_microusd_per_unit_hour"] == asked == line.asked_microusd(line.quantity_milli)
        paid = asked * (10_000 - given["discount_basis_points"]) // 10_000
        assert line.price_microusd_per_unit_hour == min(paid, given["bid_microusd_per_unit_hour"] or paid)


def test_tree_root_and_memo_are_as_described() -> None:
    leaves = [bytes.fromhex(case["leaf"]) for case in EPOCH["lines"]]
    root, epoch = tree_root(leaves), EPOCH["epoch"]
    assert EPOCH["tree_root"] == root.hex() == merkle.root(leaves).hex()
    numbers = {key: epoch[key] for key in ("epoch", "line_count", "total_microusd")}
    assert epoch["root"] == tagged("gridbay/epoch/v1", root, canonical(numbers)).hex()
    assert EpochRoot.model_validate(epoch) == EpochRoot.over(root, **numbers)
    assert numbers["total_microusd"] == sum(case["line"]["amount_microusd"] for case in EPOCH["lines"])
    words = ["gridbay/epoch/v1", *map(str, (epoch["epoch"], epoch["root"], epoch["line_count"]))]
    assert EPOCH["memo"] == " ".join([*words, str(epoch["total_microusd"])]) == EpochRoot.model_validate(epoch).memo
    for index, case in enumerate(EPOCH["lines"]):
        path = [bytes.fromhex(sibling) for sibling in case["path"]]
        assert merkle.root_from_path(leaves[index], index, len(leaves), path) == root


def test_the_receipt_verifies_and_its_broken_copies_say_why() -> None:
    assert verify_receipt(Receipt.model_validate(RECEIPT["receipt"])).problems == ()
    assert {entry["line"]["job_id"] for entry in RECEIPT["receipt"]["lines"]} == {"job_A"}
    for broken in RECEIPT["broken"]:
        copy = json.loads(json.dumps(RECEIPT["receipt"]))
        place = copy
        for key in broken["at"][:-1]:
            place = place[key]
        place[broken["at"][-1]] = broken["value"]
        problems = verify_receipt(Receipt.model_validate(copy)).problems
        assert any(broken["because"] in problem for problem in problems), (broken, problems)


@pytest.mark.parametrize("name", ["reading", "epoch", "receipt"])
def test_each_page_names_its_vectors_and_each_vector_its_page(name: str) -> None:
    page = VECTORS.parent / f"{name}.md"
    assert f"vectors/{name}.json" in page.read_text()
    assert vector(f"{name}.json")["about"] == f"docs/formats/{name}.md"
