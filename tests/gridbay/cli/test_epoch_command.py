"""`gridbay epoch verify` needs no market: a file is an epoch, or it is told what is not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typed_command import Gridbay

from market import merkle
from market.epochs import PublishedEpoch, PublishedLine
from market.receipts import EpochRoot, PublicLine, line_salt


def line(number: int) -> PublicLine:
    return PublicLine(
        line_id=f"line_{number}", job_id="job_1", lease_id=f"lease_{number}", window_number=0, organization="a" * 32,
        provider="b" * 32, unit="cpu", quantity_milli=1000, price_microusd_per_unit_hour=20_000, fee_basis_points=500,
        from_ms=0, to_ms=7_300, charged_before_microusd=0, amount_microusd=40, provider_microusd=38, fee_microusd=2,
        rounding_microusd=0, captured_at="2026-11-21T12:00:00.000000Z",
    )  # fmt: skip


def write(path: Path, change: Callable[[list[dict[str, object]]], None] | None = None) -> Path:
    lines = [line(number) for number in range(3)]
    salts = [line_salt(b"secret" * 6, item.line_id) for item in lines]
    tree = merkle.root([item.leaf(salt) for item, salt in zip(lines, salts, strict=True)])
    root = EpochRoot.over(tree, epoch=3, line_count=3, total_microusd=120)
    head = PublishedEpoch(epoch=root, anchor_signature=None, treasury=None)
    entries = [PublishedLine(line=item, salt=salt.hex()) for item, salt in zip(lines, salts, strict=True)]
    file = [json.loads(item.model_dump_json()) for item in (head, *entries)]
    if change is not None:
        change(file)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in file))
    return path


def test_an_epoch_is_recomputed_offline(tmp_path: Path, gridbay: Gridbay) -> None:
    ended = gridbay("epoch", "verify", "3", "--from", write(tmp_path / "e.jsonl"))
    assert (ended.code, ended.err) == (0, "")
    assert "epoch verified offline" in ended.out
    assert "0.00012 USDC" in ended.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.pop(2), "there are 2 lines, the epoch says 3"),
        (lambda file: file[1]["line"].update(amount_microusd=41, provider_microusd=39), "the rate gives 40"),
        (lambda file: file[1].update(salt="0" * 64), "the lines lead to the root"),
        (lambda file: file.insert(1, file.pop(2)), "in the order of their ids"),
    ],
)
def test_what_does_not_hold_is_told(
    tmp_path: Path, gridbay: Gridbay, change: Callable[[list[dict[str, object]]], None], said: str
) -> None:
    ended = gridbay("epoch", "verify", "3", "--from", write(tmp_path / "e.jsonl", change))
    assert ended.code == 1
    assert f"does not hold: {said}" in ended.out or said in ended.out


def test_another_epoch_another_root_and_no_epoch_at_all_are_refused(tmp_path: Path, gridbay: Gridbay) -> None:
    file = write(tmp_path / "e.jsonl")
    assert "is epoch 3, not 4" in gridbay("epoch", "verify", "4", "--from", file).err
    other = gridbay("epoch", "verify", "3", "--from", file, "--root", "0" * 64)
    assert other.code == 1 and f"not {'0' * 64}" in other.out
    file.write_text("{}\n")
    ended = gridbay("epoch", "verify", "3", "--from", file)
    assert ended.code == 2 and "is no published epoch: line 1" in ended.err
