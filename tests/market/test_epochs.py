"""Anybody recomputes an epoch from its published lines, and nothing in them, or in a receipt, can be changed unseen."""

import json
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from market import merkle
from market.components import ComponentPrices, Components
from market.epochs import PublishedEpoch, PublishedLine, verify_epoch
from market.money import split_charge, usage_charge_microusd
from market.receipts import EpochRoot, PublicLine, Receipt, line_problems, line_salt, pseudonym, verify_receipt

TAMPERS = 10_000 if os.environ.get("GRIDBAY_SOAK") else 500
SECRET = bytes(range(32))
JOB = "job_0"
Document = dict[str, Any]


def lease_lines(number: int, windows: int, random: Random) -> list[PublicLine]:
    """The lines of one lease, as capturing makes them."""
    quantity, price = random.randrange(250, 8000), random.randrange(0, 4_000_000)
    to_ms = charged = least = 0
    less = 250 * (number % 2)
    parts = components_of(number, random)
    price = parts.price_microusd(quantity, less) if parts.told else price
    made = []
    for window in range(windows):
        from_ms, before = to_ms, charged
        to_ms += random.randrange(1, 900_000)
        # The last one of some is charged for longer than it ran.
        least = to_ms + 60_000 if number % 2 and window == windows - 1 else 0
        charged = usage_charge_microusd(quantity, max(to_ms, least), price)
        split = split_charge(charged - before, 500, less)
        made.append(
            PublicLine(
                line_id=f"line_{window:04}_{number:04}",
                job_id=f"job_{number}",
                lease_id=f"lease_{number}",
                window_number=window,
                organization=pseudonym(SECRET, f"org_{number % 3}"),
                provider=pseudonym(SECRET, f"prv_{number % 5}"),
                unit="gpu",
                quantity_milli=quantity,
                price_microusd_per_unit_hour=price,
                discount_basis_points=less,
                fee_basis_points=500,
                from_ms=from_ms,
                to_ms=to_ms,
                minimum_ms=least,
                charged_before_microusd=before,
                amount_microusd=charged - before,
                provider_microusd=split.provider_microusd,
                fee_microusd=split.fee_microusd,
                rounding_microusd=split.rounding_microusd,
                captured_at="2026-11-21T12:00:00.000000Z",
                **parts.model_dump(),
            )
        )
    return made


def components_of(number: int, random: Random) -> Components:
    """What the prices of some leases are made of; of some of these of a bid, too."""
    if number % 3 != 2:
        return Components()
    taken = random.randrange(1, 9_000), random.randrange(1, 2**38), random.randrange(1, 2**41)
    prices = ComponentPrices(random.randrange(1, 9_000), random.randrange(1, 9_000), random.randrange(1, 900))
    return Components.of(random.randrange(1, 900_000), prices, taken, 700_000 if number % 2 else 0)


def published(leases: int = 6) -> list[Document]:
    """An epoch's file: its head and its lines, as documents."""
    random = Random(4)
    lines = sorted((line for n in range(leases) for line in lease_lines(n, 1 + n % 3, random)), key=lambda x: x.line_id)
    salts = [line_salt(SECRET, line.line_id) for line in lines]
    root = EpochRoot.over(
        merkle.root([line.leaf(salt) for line, salt in zip(lines, salts, strict=True)]),
        epoch=7,
        line_count=len(lines),
        total_microusd=sum(line.amount_microusd for line in lines),
    )
    head = PublishedEpoch(epoch=root, anchor_signature=None, treasury=None)
    entries = [PublishedLine(line=line, salt=salt.hex()) for line, salt in zip(lines, salts, strict=True)]
    return [json.loads(item.model_dump_json()) for item in (head, *entries)]


def recomputes(file: list[Document]) -> bool:
    try:
        head = PublishedEpoch.model_validate(file[0])
        lines = [PublishedLine.model_validate(item) for item in file[1:]]
    except ValidationError:
        return False
    return verify_epoch(head.epoch, lines).ok


def receipt_of(file: list[Document]) -> Document:
    """The receipt of a job of that epoch with several lines."""
    job = "job_5"
    lines = [PublishedLine.model_validate(item) for item in file[1:]]
    tree = merkle.levels([entry.line.leaf(bytes.fromhex(entry.salt)) for entry in lines])
    entries = [
        {
            "line": entry.line.model_dump(),
            "salt": entry.salt,
            "epoch": file[0]["epoch"],
            "index": index,
            "path": [sibling.hex() for sibling in merkle.path(tree, index)],
        }
        for index, entry in enumerate(lines)
        if entry.line.job_id == job
    ]
    assert len(entries) == 3
    return {"job_id": job, "lines": entries, "total_microusd": sum(item["line"]["amount_microusd"] for item in entries)}


def holds(document: Document) -> bool:
    try:
        return verify_receipt(Receipt.model_validate(document)).ok
    except ValidationError:
        return False


def changed_value(value: Any, random: Random) -> Any:
    """Another value of the same kind, near or far."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value + random.choice([-1, 1, 1000, -1000, 2**40])) if value else random.choice([1, 7])
    index = random.randrange(len(value))
    other = random.choice([letter for letter in "0123456789abcdefZ" if letter != value[index]])
    return random.choice([value[:index] + other + value[index + 1 :], value[:index] + value[index + 1 :], value + "0"])


def change_a_leaf(document: Any, random: Random) -> None:
    """Change one value somewhere in it; what only the chain can tell is left."""
    while isinstance(document, dict | list):
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        keys = [key for key in keys if key not in ("anchor_signature", "treasury") and document[key] not in ([], None)]
        key = random.choice(keys)
        if not isinstance(document[key], dict | list):
            document[key] = changed_value(document[key], random)
            return
        document = document[key]


def move_money(lines: list[Document], random: Random) -> None:
    """Make one line dearer and another cheaper: the sum stays."""
    one, other = random.sample(lines, 2)
    for line, by in ((one["line"], 1), (other["line"], -1)):
        line["amount_microusd"] += by
        line["provider_microusd"] += by


def drop(lines: list[Document], random: Random) -> None:
    lines.pop(random.randrange(len(lines)))


def double(lines: list[Document], random: Random) -> None:
    lines.insert(random.randrange(len(lines)), json.loads(json.dumps(random.choice(lines))))


def swap(lines: list[Document], random: Random) -> None:
    one, other = random.sample(range(len(lines)), 2)
    lines[one], lines[other] = lines[other], lines[one]


def swap_parts(lines: list[Document], random: Random) -> None:
    """Put one line's salt on another."""
    one, other = random.sample(lines, 2)
    one["salt"], other["salt"] = other["salt"], one["salt"]


LINE_TAMPERS: list[Callable[[list[Document], Random], None]] = [drop, double, swap, swap_parts, move_money]


@pytest.mark.parametrize("field", Components.model_fields)
def test_a_price_that_does_not_follow_from_what_it_was_made_of_is_refused_whoever_publishes_it(field: str) -> None:
    taken, prices = (4_000, 2**34, 2**37), ComponentPrices(5_000, 1_000, 100)
    bid = 150_000 if field == "bid_microusd_per_unit_hour" else 0
    made = Components.of(200_000, prices, taken, bid)
    paid = made.price_microusd(2_000, 250)
    line = lease_lines(0, 1, Random(1))[0].model_copy(update={"quantity_milli": 2_000, "discount_basis_points": 250})
    charged = usage_charge_microusd(2_000, line.to_ms, paid)
    split = split_charge(charged, 500, 250)
    line = line.model_copy(
        update={
            **made.model_dump(),
            "price_microusd_per_unit_hour": paid,
            "amount_microusd": charged,
            "provider_microusd": split.provider_microusd,
            "fee_microusd": split.fee_microusd,
            "rounding_microusd": split.rounding_microusd,
        }
    )
    assert line_problems(line) == []
    for value in (0, getattr(made, field) * 2 + 1):
        if value != getattr(made, field):
            problems = line_problems(line.model_copy(update={field: value}))
            assert "its price does not follow from what it was made of" in problems


def test_published_lines_lead_to_the_root() -> None:
    assert recomputes(published())
    assert holds(receipt_of(published()))


@pytest.mark.parametrize("seed", range(0, TAMPERS, 100))
def test_no_tampering_with_an_epoch_goes_unseen(seed: int) -> None:
    whole = json.dumps(published())
    for number in range(seed, seed + 100):
        random, file = Random(number), json.loads(whole)
        if number % 2:
            change_a_leaf(file, random)
        else:
            lines = file[1:]
            random.choice(LINE_TAMPERS)(lines, random)
            file[1:] = lines
        assert json.dumps(file) != whole
        assert not recomputes(file), (number, file)


@pytest.mark.parametrize("seed", range(0, TAMPERS, 100))
def test_no_tampering_with_a_receipt_goes_unseen(seed: int) -> None:
    whole = json.dumps(receipt_of(published()))
    for number in range(seed, seed + 100):
        random, receipt = Random(number), json.loads(whole)
        if number % 2:
            change_a_leaf(receipt, random)
        else:
            # The order of its lines proves nothing: they are told by window.
            random.choice([item for item in LINE_TAMPERS if item is not swap])(receipt["lines"], random)
        assert json.dumps(receipt) != whole
        assert not holds(receipt), (number, receipt)


@settings(deadline=None)
@given(st.integers(0, 70))
def test_a_growing_tree_has_the_root_of_its_leaves(count: int) -> None:
    leaves = [number.to_bytes(32) for number in range(count)]
    tree = merkle.Growing()
    for leaf in leaves:
        tree.add(leaf)
    assert (tree.count, tree.root()) == (count, merkle.root(leaves))


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 3 * merkle.BLOCK + 3), at=st.integers(0))
def test_a_path_over_blocks_is_the_path_over_the_whole_tree(count: int, at: int) -> None:
    leaves, index = [number.to_bytes(32) for number in range(count)], at % count
    blocks = [leaves[start : start + merkle.BLOCK] for start in range(0, count, merkle.BLOCK)]
    roots = [merkle.root(block) for block in blocks]
    found = merkle.path_over_blocks(roots, blocks[index // merkle.BLOCK], index)
    assert found == merkle.path(merkle.levels(leaves), index)
