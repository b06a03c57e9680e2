"""Published epochs: every line of one with its salt, so that anybody recomputes its root (docs/formats/epoch.md)."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market import merkle
from market.receipts import EpochRoot, Hex32, PublicLine, Verdict, line_problems

PROBLEMS_MAX = 20
"""So many are told; the rest of a broken file adds nothing."""


class PublishedEpoch(BaseModel):
    """The first line of a published epoch. treasury: the Solana address that signs anchors (base58)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["gridbay/published-epoch/v1"] = "gridbay/published-epoch/v1"
    epoch: EpochRoot
    anchor_signature: str | None
    treasury: str | None


class PublishedLine(BaseModel):
    """A usage line and the salt of its leaf. They stand in the order of their leaves, from 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: PublicLine
    salt: str = Hex32


class EpochLines(BaseModel):
    """Some of an epoch's published lines, in their order; fewer than were asked for are its last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: list[PublishedLine] = Field(max_length=1000)


def verify_epoch(epoch: EpochRoot, lines: Iterable[PublishedLine]) -> Verdict:
    """Recompute an epoch offline: each line's arithmetic, their order, the sum, the count, the tree and its root."""
    problems: list[str] = []
    tree = merkle.Growing()
    reached: dict[str, tuple[int, int, int]] = {}
    total, last_id = 0, ""
    for entry in lines:
        line = entry.line
        found = line_problems(line)
        if line.line_id <= last_id:
            found.append("lines stand in the order of their ids, each once")
        found += _lease_problems(line, reached)
        problems += [f"line {tree.count} ({line.line_id}): {problem}" for problem in found]
        tree.add(line.leaf(bytes.fromhex(entry.salt)))
        total, last_id = total + line.amount_microusd, line.line_id
        if len(problems) >= PROBLEMS_MAX:
            return Verdict((*problems[:PROBLEMS_MAX], "and it was read no further"))
    if tree.count != epoch.line_count:
        problems.append(f"there are {tree.count} lines, the epoch says {epoch.line_count}")
    if total != epoch.total_microusd:
        problems.append(f"the lines add up to {total} micro-USDC, the epoch says {epoch.total_microusd}")
    recomputed = EpochRoot.over(tree.root(), epoch=epoch.epoch, line_count=tree.count, total_microusd=total)
    if recomputed.root != epoch.root:
        problems.append(f"the lines lead to the root {recomputed.root}, the epoch says {epoch.root}")
    return Verdict(tuple(problems))


def _lease_problems(line: PublicLine, reached: dict[str, tuple[int, int, int]]) -> list[str]:
    """Lines of one lease within the epoch follow each other; its first may continue an earlier epoch's."""
    before = reached.get(line.lease_id)
    reached[line.lease_id] = (line.window_number, line.to_ms, line.charged_before_microusd + line.amount_microusd)
    if before is None:
        return []
    window, to_ms, charged = before
    if line.window_number <= window:
        return [f"window {line.window_number} of {line.lease_id} is billed twice or out of order"]
    if (line.from_ms, line.charged_before_microusd) != (to_ms, charged):
        return [f"window {line.window_number} of {line.lease_id} does not continue the one before it"]
    return []
