"""Receipts: a job's lines with their way to the roots of their epochs; checked by anybody with market.receipts."""

from collections.abc import Sequence
from datetime import UTC

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.charging import adjustments, bills
from billing.charging.adjustments import Adjustment
from billing.settling import epochs
from billing.tables.bills import EpochBlockRow, EpochRow, UsageLineRow
from billing.treasury import custody
from market import merkle
from market.errors import NotFound, Unavailable
from market.receipts import Receipt, ReceiptAdjustment, ReceiptLine, line_salt

_SOON = "ask again when it is closed: epochs close by themselves, and an operator can close one now"


def receipt(session: Session, job_id: str, treasury: str | None = None) -> Receipt:
    """The proof of a job's whole bill. treasury: the address that signs anchors, by default this market's.

    Raises NotFound, or Unavailable while the bill is not complete or one of its lines is in no closed epoch.
    """
    cost = bills.costs(session, [job_id]).get(job_id)
    if cost is None:
        raise NotFound(f"there is no bill of {job_id}")
    if not cost.settled:
        raise Unavailable(f"the bill of {job_id} is not complete yet", remedy="ask again when the job is billed")
    rows = session.scalars(
        select(UsageLineRow)
        .where(UsageLineRow.job_id == job_id)
        .order_by(UsageLineRow.attempt_number, UsageLineRow.window_number)
    ).all()
    if any(row.epoch is None for row in rows):
        raise Unavailable("the epoch of this bill is not closed yet", remedy=_SOON)
    if treasury is None and custody.has_treasury():
        treasury = custody.custody().address
    made = [_adjustment(item) for item in adjustments.of_jobs(session, [job_id])]
    return Receipt(
        format="gridbay/receipt/v2" if made else "gridbay/receipt/v1",
        job_id=job_id,
        lines=proven(session, rows),
        total_microusd=cost.total_microusd,
        treasury=treasury,
        adjustments=made,
        credited_microusd=sum(item.amount_microusd for item in made),
    )


def _adjustment(item: Adjustment) -> ReceiptAdjustment:
    return ReceiptAdjustment(
        adjustment_id=item.adjustment_id,
        line_id=item.line_id,
        amount_microusd=item.amount_microusd,
        provider_microusd=item.split.provider_microusd,
        fee_microusd=item.split.fee_microusd,
        rounding_microusd=item.split.rounding_microusd,
        cause=item.cause,
        reason=item.reason,
        adjusted_at=item.adjusted_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    )


def proven(session: Session, rows: Sequence[UsageLineRow]) -> list[ReceiptLine]:
    numbers = sorted({row.epoch for row in rows if row.epoch is not None})
    closed = {row.number: row for row in session.scalars(select(EpochRow).where(EpochRow.number.in_(numbers)))}
    signatures = epochs.anchors(session, numbers)
    trees = {number: _Tree(session, number) for number in numbers}
    public = epochs.public_lines(session, rows, {number: row.secret for number, row in closed.items()})
    proven = []
    for row, line in zip(rows, public, strict=True):
        assert row.epoch is not None and row.leaf_index is not None
        epoch = closed[row.epoch]
        proven.append(
            ReceiptLine(
                line=line,
                salt=line_salt(epoch.secret, row.id).hex(),
                epoch=epochs.epoch_root(epoch),
                index=row.leaf_index,
                path=[sibling.hex() for sibling in trees[row.epoch].path(row.leaf_index)],
                anchor_signature=signatures.get(row.epoch),
            )
        )
    return proven


class _Tree:
    """An epoch's tree, of which only what proofs need is read: the roots of its blocks, and the leaves of some."""

    def __init__(self, session: Session, epoch: int) -> None:
        self._session, self._epoch = session, epoch
        of_epoch = select(EpochBlockRow.root).where(EpochBlockRow.epoch == epoch).order_by(EpochBlockRow.number)
        self._roots = [bytes.fromhex(root) for root in session.scalars(of_epoch)]
        self._blocks: dict[int, list[bytes]] = {}

    def path(self, index: int) -> list[bytes]:
        number = index // merkle.BLOCK
        if number not in self._blocks:
            self._blocks[number] = self._leaves(number * merkle.BLOCK)
        return merkle.path_over_blocks(self._roots, self._blocks[number], index)

    def _leaves(self, start: int) -> list[bytes]:
        hashes = self._session.scalars(
            select(UsageLineRow.leaf_hash)
            .where(
                UsageLineRow.epoch == self._epoch,
                UsageLineRow.leaf_index >= start,
                UsageLineRow.leaf_index < start + merkle.BLOCK,
            )
            .order_by(UsageLineRow.leaf_index)
        )
        return [bytes.fromhex(leaf) for leaf in hashes if leaf is not None]
