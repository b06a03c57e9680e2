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
from test_epochs import change_a_leaf, published, receipt_of

from market.receipts import Receipt, verify_receipt

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
