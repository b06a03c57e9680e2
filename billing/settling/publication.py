"""Publishing closed epochs: their root, and their lines under pseudonyms with the salts of their leaves."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.settling import epochs
from billing.tables.bills import EpochRow, UsageLineRow
from billing.treasury import custody
from market.epochs import EpochLines, PublishedEpoch, PublishedLine
from market.errors import NotFound
from market.receipts import line_salt

LINES_MAX = 1000


def epoch(session: Session, number: int) -> PublishedEpoch:
    """Raises NotFound for an epoch that is not closed."""
    row = _closed(session, number)
    treasury = custody.custody().address if custody.has_treasury() else None
    anchor = epochs.anchors(session, [number]).get(number)
    return PublishedEpoch(epoch=epochs.epoch_root(row), anchor_signature=anchor, treasury=treasury)


def lines(session: Session, number: int, start: int, limit: int = LINES_MAX) -> EpochLines:
    """Its lines from that leaf on. Raises NotFound for an epoch that is not closed."""
    secret = _closed(session, number).secret
    rows = session.scalars(
        select(UsageLineRow)
        .where(UsageLineRow.epoch == number, UsageLineRow.leaf_index >= start, UsageLineRow.leaf_index < start + limit)
        .order_by(UsageLineRow.leaf_index)
    ).all()
    public = epochs.public_lines(session, rows, {number: secret})
    return EpochLines(lines=[PublishedLine(line=line, salt=line_salt(secret, line.line_id).hex()) for line in public])


def _closed(session: Session, number: int) -> EpochRow:
    row = session.get(EpochRow, number)
    if row is None:
        raise NotFound(f"epoch {number} is not closed")
    return row
