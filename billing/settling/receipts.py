"""Receipts: a job's lines with their way to the roots of their epochs; checked by anybody with market.receipts."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.charging import bills
from billing.settling import epochs
from billing.tables.bills import EpochRow, UsageLineRow
from billing.treasury import custody
from market import merkle
from market.errors import NotFound, Unavailable
from market.receipts import Receipt, ReceiptLine, line_salt

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
    return Receipt(job_id=job_id, lines=proven(session, rows), total_microusd=cost.total_microusd, treasury=treasury)


def proven(session: Session, rows: Sequence[UsageLineRow]) -> list[ReceiptLine]:
    numbers = sorted({row.epoch for row in rows if row.epoch is not None})
    closed = {row.number: row for row in session.scalars(select(EpochRow).where(EpochRow.number.in_(numbers)))}
    signatures = epochs.anchors(session, numbers)
    trees = {number: merkle.levels(_leaves(session, number)) for number in numbers}
    proven = []
    for row in rows:
        assert row.epoch is not None and row.leaf_index is not None
        epoch = closed[row.epoch]
        path = merkle.path(trees[row.epoch], row.leaf_index)
        proven.append(
            ReceiptLine(
                line=epochs.public_line(row, epoch.secret),
                salt=line_salt(epoch.secret, row.id).hex(),
                epoch=epochs.epoch_root(epoch),
                index=row.leaf_index,
                path=[sibling.hex() for sibling in path],
                anchor_signature=signatures.get(row.epoch),
            )
        )
    return proven


def _leaves(session: Session, epoch: int) -> list[bytes]:
    hashes = session.scalars(
        select(UsageLineRow.leaf_hash).where(UsageLineRow.epoch == epoch).order_by(UsageLineRow.leaf_index)
    )
    return [bytes.fromhex(leaf) for leaf in hashes if leaf is not None]
