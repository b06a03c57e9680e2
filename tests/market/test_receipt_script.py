"""docs/verify_receipt.py, which shares no code with the product, comes to the same verdict on any receipt."""

import ast
import json
import runpy
import sys
from contextlib import suppress
from functools import reduce
from operator import getitem
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError
from test_epochs import change_a_leaf, lease_lines, published, receipt_of

from market.money import split_charge, usage_charge_microusd
from market.receipts import EpochRoot, PublicLine, Receipt, ReceiptLine, verify_receipt

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_receipt.py"
VECTORS = Path(__file__).parents[2] / "docs" / "formats" / "vectors" / "receipt.json"
ALIKE = 200


def verdict(receipt: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The script's: whether it comes to its end without a complaint."""
    file = folder / "receipt.json"
    file.write_text(json.dumps(receipt))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(file)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except (SystemExit, ValueError, TypeError, KeyError):
        return False
    return True


def test_it_is_short_and_imports_the_standard_library_alone() -> None:
    source = SCRIPT.read_text()
    assert len(source.splitlines()) < 80
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.name for node in imported if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in imported if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_the_published_vectors_hold_and_the_broken_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = json.loads(VECTORS.read_text())
    assert verdict(vectors["receipt"], tmp_path, monkeypatch)
    for broken in vectors["broken"]:
        changed = json.loads(json.dumps(vectors["receipt"]))
        *way, last = broken["at"]
        reduce(getitem, way, changed)[last] = broken["value"]
        assert not verdict(changed, tmp_path, monkeypatch), broken


def test_it_refuses_every_change_that_the_product_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.dumps(receipt_of(published()) | {"format": "gridbay/receipt/v1"})
    assert verdict(json.loads(whole), tmp_path, monkeypatch)
    for number in range(ALIKE):
        changed = json.loads(whole)
        change_a_leaf(changed, Random(number))
        with suppress(ValidationError):
            assert not verify_receipt(Receipt.model_validate(changed)).ok
        assert not verdict(changed, tmp_path, monkeypatch), number


MADE = {"unit_microusd_per_hour": 200_000, "cpu_milli": 4_000, "cpu_microusd_per_hour": 5_000, "memory_bytes": 2**34}
MADE |= {"memory_microusd_per_gib_hour": 1_000, "disk_bytes": 10**11, "disk_microusd_per_gib_hour": 100}


def priced(made: dict[str, int], price: int) -> dict[str, Any]:
    """A receipt of one line at that price, made of this; every hash of it is right."""
    charged = usage_charge_microusd(2_000, 900_000, price)
    split = split_charge(charged, 500, 250)
    line = lease_lines(0, 1, Random(0))[0].model_dump() | made
    line |= {"quantity_milli": 2_000, "to_ms": 900_000, "price_microusd_per_unit_hour": price, "minimum_ms": 0}
    line |= {"discount_basis_points": 250, "amount_microusd": charged, "rounding_microusd": split.rounding_microusd}
    sound = PublicLine(**line | {"provider_microusd": split.provider_microusd, "fee_microusd": split.fee_microusd})
    root = EpochRoot.over(sound.leaf(bytes(32)), epoch=1, line_count=1, total_microusd=charged)
    entry = ReceiptLine(line=sound, salt=bytes(32).hex(), epoch=root, index=0, path=[])
    return Receipt(job_id=sound.job_id, lines=[entry], total_microusd=charged).model_dump(mode="json")


@pytest.mark.parametrize(
    ("made", "price"), [(MADE, 217_089), (MADE | {"bid_microusd_per_unit_hour": 150_000}, 150_000)]
)
def test_it_recomputes_the_price_from_what_it_was_made_of(
    made: dict[str, int], price: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verdict(priced(made, price), tmp_path, monkeypatch)
    wrong = [(made, price + 1), (made, price - 1)]
    if price < 200_000:
        wrong.append((made | {"bid_microusd_per_unit_hour": 0}, price))
    else:
        wrong += [(made | {name: made[name] // 2}, price) for name in made]
    for parts, paid in wrong:
        document = priced(parts, paid)
        assert not verify_receipt(Receipt.model_validate(document)).ok
        assert not verdict(document, tmp_path, monkeypatch), (parts, paid)
