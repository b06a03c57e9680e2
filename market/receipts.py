"""Receipts: a job's usage lines, their way to an epoch's root, and where that root is anchored.

Anyone can check one without us: docs/formats/receipt.md and docs/formats/epoch.md fix the bytes.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from market import merkle
from market.canonical import canonical_json, tagged_hash
from market.components import Components
from market.money import Split, reversal_split, split_charge, usage_charge_microusd

LEAF_TAG = "gridbay/leaf/v1"
EPOCH_TAG = "gridbay/epoch/v1"
PSEUDONYM_TAG = b"gridbay/pseudonym/v1"
SALT_TAG = b"gridbay/salt/v1"

LEFT_OUT = frozenset({"discount_basis_points", "minimum_ms", *Components.model_fields})
"""Fields of a line that are not there where they are 0, so that lines of before have the bytes they had."""

Hex32 = Field(pattern=r"^[0-9a-f]{64}$")


class PublicLine(Components):
    """One usage line as it is published: everything that decides the amount, parties under pseudonyms.

    The line covers cumulative run time from_ms..to_ms of its lease; charged_before_microusd is what earlier lines of
    the lease took, so amount = floor(charge(max(to_ms, minimum_ms))) - charged_before. `capped` says that the window's
    hold limited it.
    The price is after the organization's discount; what it was made of is told where more is in it than the unit's own.
    What few lines have is left out where it is 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    line_id: str
    job_id: str
    lease_id: str
    window_number: int = Field(ge=0)
    organization: str
    provider: str
    unit: Literal["gpu", "cpu"]
    quantity_milli: int = Field(ge=0)
    price_microusd_per_unit_hour: int = Field(ge=0)
    discount_basis_points: int = Field(default=0, ge=0, lt=10_000)
    fee_basis_points: int = Field(ge=0, le=10_000)
    from_ms: int = Field(ge=0)
    to_ms: int = Field(ge=0)
    minimum_ms: int = Field(default=0, ge=0)
    charged_before_microusd: int = Field(ge=0)
    amount_microusd: int = Field(ge=0)
    provider_microusd: int = Field(ge=0)
    fee_microusd: int = Field(ge=0)
    rounding_microusd: int = Field(ge=0)
    capped: bool = False
    captured_at: str

    @model_serializer(mode="wrap")
    def _without_zeros(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = plain(self)
        return {name: value for name, value in document.items() if value != 0 or name not in LEFT_OUT}

    def leaf(self, salt: bytes) -> bytes:
        """The leaf of the epoch's tree: a salted hash, so that nobody can guess a line from it."""
        return tagged_hash(LEAF_TAG, salt, canonical_json(self.model_dump(mode="json")))


class EpochRoot(BaseModel):
    """What is anchored on the chain of one closed epoch. root covers the tree of its lines and the three numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(ge=1)
    root: str = Hex32
    line_count: int = Field(ge=0)
    total_microusd: int = Field(ge=0)

    @classmethod
    def over(cls, tree_root: bytes, *, epoch: int, line_count: int, total_microusd: int) -> "EpochRoot":
        """The root over a Merkle tree's root and its epoch's numbers, so that none of them can be changed alone."""
        numbers = {"epoch": epoch, "line_count": line_count, "total_microusd": total_microusd}
        root = tagged_hash(EPOCH_TAG, tree_root, canonical_json(numbers)).hex()
        return cls(epoch=epoch, root=root, line_count=line_count, total_microusd=total_microusd)

    @property
    def memo(self) -> str:
        """The text of the anchoring transaction's memo."""
        return f"{EPOCH_TAG} {self.epoch} {self.root} {self.line_count} {self.total_microusd}"


class ReceiptLine(BaseModel):
    """A line with what proves that it is in the epoch. path: siblings from leaf to root, hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: PublicLine
    salt: str = Hex32
    epoch: EpochRoot
    index: int = Field(ge=0)
    path: list[str] = Field(max_length=64)
    anchor_signature: str | None = None


class ReceiptAdjustment(BaseModel):
    """A part of a line that was given back after it was charged. amount = provider + fee + rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adjustment_id: str
    line_id: str
    amount_microusd: int = Field(gt=0)
    provider_microusd: int = Field(ge=0)
    fee_microusd: int = Field(ge=0)
    rounding_microusd: int = Field(ge=0)
    cause: str
    reason: str
    adjusted_at: str


class Receipt(BaseModel):
    """The proof of one job's bill. total_microusd: of the lines; credited_microusd: what of it was given back.

    Without adjustments the document is v1, and has neither of their fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["gridbay/receipt/v1", "gridbay/receipt/v2"] = "gridbay/receipt/v1"
    job_id: str
    lines: list[ReceiptLine] = Field(max_length=10_000)
    total_microusd: int = Field(ge=0)
    treasury: str | None = None
    """The Solana address that signs anchors (base58)."""
    adjustments: list[ReceiptAdjustment] = Field(default_factory=list, max_length=10_000)
    credited_microusd: int = Field(default=0, ge=0)

    @model_serializer(mode="wrap")
    def _of_its_version(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = plain(self)
        if self.format == "gridbay/receipt/v1":
            del document["adjustments"], document["credited_microusd"]
        return document

    @model_validator(mode="after")
    def _has_its_versions_fields(self) -> "Receipt":
        if (self.format == "gridbay/receipt/v1") != (not self.adjustments):
            raise ValueError("adjustments are of gridbay/receipt/v2, which has one at least")
        return self


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a check. problems: what does not hold, in words; empty when all of it does."""

    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify_receipt(receipt: Receipt) -> Verdict:
    """Recompute everything that can be recomputed offline: amounts, splits, leaves, paths, the sum."""
    problems: list[str] = []
    for number, entry in enumerate(receipt.lines):
        problems += [f"line {number} ({entry.line.line_id}): {problem}" for problem in _line_problems(receipt, entry)]
    problems += _sequence_problems([entry.line for entry in receipt.lines])
    total = sum(entry.line.amount_microusd for entry in receipt.lines)
    if total != receipt.total_microusd:
        problems.append(f"the lines add up to {total} micro-USDC, the receipt says {receipt.total_microusd}")
    return Verdict((*problems, *_adjustment_problems(receipt)))


def line_salt(epoch_secret: bytes, line_id: str) -> bytes:
    """The salt of a line's leaf: 32 bytes only the holder of the epoch's secret can derive."""
    return hmac.digest(epoch_secret, SALT_TAG + b"\n" + line_id.encode(), hashlib.sha256)


def pseudonym(epoch_secret: bytes, party_id: str) -> str:
    """The name of a party within one epoch: 32 hexadecimal digits, unlinkable between epochs."""
    return hmac.digest(epoch_secret, PSEUDONYM_TAG + b"\n" + party_id.encode(), hashlib.sha256)[:16].hex()


def line_problems(line: PublicLine) -> list[str]:
    """What of a line's own arithmetic does not hold."""
    problems = []
    if line.told and line.price_microusd_per_unit_hour != line.price_microusd(
        line.quantity_milli, line.discount_basis_points
    ):
        problems.append("its price does not follow from what it was made of")
    charged_ms = max(line.to_ms, line.minimum_ms)
    due = usage_charge_microusd(line.quantity_milli, charged_ms, line.price_microusd_per_unit_hour)
    due -= line.charged_before_microusd
    if line.to_ms < line.from_ms:
        problems.append(f"its time runs backwards, from {line.from_ms} to {line.to_ms} ms")
    if line.amount_microusd > due or (line.amount_microusd != due and not line.capped):
        problems.append(f"the charge is {line.amount_microusd} micro-USDC, the rate gives {due}")
    if line.discount_basis_points > line.fee_basis_points:
        return [*problems, "its discount is above its fee"]
    split = split_charge(line.amount_microusd, line.fee_basis_points, line.discount_basis_points)
    if (split.provider_microusd, split.fee_microusd, split.rounding_microusd) != (
        line.provider_microusd,
        line.fee_microusd,
        line.rounding_microusd,
    ):
        problems.append("provider's share, fee and rounding are not those of the stated fee")
    return problems


def _line_problems(receipt: Receipt, entry: ReceiptLine) -> list[str]:
    problems = line_problems(entry.line)
    if entry.line.job_id != receipt.job_id:
        problems.append(f"it belongs to {entry.line.job_id}, not to {receipt.job_id}")
    try:
        siblings = [bytes.fromhex(sibling) for sibling in entry.path]
    except ValueError:
        return [*problems, "its path is not hexadecimal"]
    leaf = entry.line.leaf(bytes.fromhex(entry.salt))
    epoch = entry.epoch
    found = merkle.root_from_path(leaf, entry.index, epoch.line_count, siblings)
    if found is None or epoch != EpochRoot.over(
        found, epoch=epoch.epoch, line_count=epoch.line_count, total_microusd=epoch.total_microusd
    ):
        problems.append(f"its path does not lead to the root of epoch {epoch.epoch}")
    return problems


def _adjustment_problems(receipt: Receipt) -> list[str]:
    """Each takes its part of a line of this receipt, in their order, and they add up."""
    problems = []
    lines = {entry.line.line_id: entry.line for entry in receipt.lines}
    before = dict.fromkeys(lines, 0)
    for item in receipt.adjustments:
        line = lines.get(item.line_id)
        if line is None or before[item.line_id] + item.amount_microusd > line.amount_microusd:
            problems.append(f"{item.adjustment_id} gives back more than is left of {item.line_id}")
            continue
        charged = Split(line.provider_microusd, line.fee_microusd, line.rounding_microusd)
        split = reversal_split(charged, before[item.line_id], item.amount_microusd)
        if split != Split(item.provider_microusd, item.fee_microusd, item.rounding_microusd):
            problems.append(f"the parts of {item.adjustment_id} are not those of its line")
        before[item.line_id] += item.amount_microusd
    credited = sum(item.amount_microusd for item in receipt.adjustments)
    if credited != receipt.credited_microusd:
        problems.append(f"adjustments give back {credited} micro-USDC, the receipt says {receipt.credited_microusd}")
    return problems


def _sequence_problems(lines: Sequence[PublicLine]) -> list[str]:
    """Lines of one lease follow each other without gap or overlap, each window once."""
    problems = []
    leases: dict[str, list[PublicLine]] = {}
    for line in lines:
        leases.setdefault(line.lease_id, []).append(line)
    for lease_id, of_lease in leases.items():
        charged, reached, window = 0, 0, -1
        for line in sorted(of_lease, key=lambda item: item.window_number):
            if line.window_number == window:
                problems.append(f"window {window} of {lease_id} is billed twice")
            if line.charged_before_microusd != charged or line.from_ms != reached:
                problems.append(f"window {line.window_number} of {lease_id} does not continue the one before it")
            window, reached, charged = line.window_number, line.to_ms, charged + line.amount_microusd
    return problems
