"""Epochs: a close stamps every open usage line, fixes their Merkle root, and opens the payouts that they make due."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from billing.settling import leaves, payouts
from billing.tables.bills import EpochRow, UsageLineRow
from billing.tables.settlement import SettlementBatchRow, SigningRow
from infra.outbox import publish, wake
from infra.settings import Settings, settings
from market import merkle
from market.errors import NotFound
from market.messages import EpochClosed
from market.receipts import EpochRoot, PublicLine, line_salt, pseudonym

LINES_MAX = 1_000_000
"""Lines of one epoch; what is over closes with the next."""
_CLOSING = 0x67726964_0001

_STAMP = text(
    "UPDATE usage_lines AS line SET epoch = :epoch, leaf_index = stamp.leaf_index, leaf_hash = stamp.leaf_hash "
    "FROM json_to_recordset(cast(:stamps AS json)) AS stamp (id text, leaf_index bigint, leaf_hash text) "
    "WHERE line.id = stamp.id"
)


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """anchor_signature: of the chain transaction that carries the root, once it is finalized."""

    epoch: int
    root: str
    line_count: int
    total_microusd: int
    closed_at: datetime
    anchor_signature: str | None
    payouts: Sequence[payouts.Payout]


def close(session: Session, now: datetime, config: Settings | None = None) -> int | None:
    """Close over every line that is open and pay what is due; returns the epoch, or None when there was no line."""
    session.execute(select(func.pg_advisory_xact_lock(_CLOSING)))
    number = _stamp(session, now)
    payouts.open_due(session, number, now, config or settings())
    wake(session, "billing.settle")
    return number


def close_if_due(session: Session, now: datetime, config: Settings | None = None) -> int | None:
    """Close when the last epoch, or the oldest open line, is older than an epoch lasts; pay who waited that long."""
    config = config or settings()
    before = now - timedelta(seconds=config.epoch_seconds)
    last = session.scalar(select(func.max(EpochRow.closed_at)))
    oldest = session.scalar(select(func.min(UsageLineRow.captured_at)).where(UsageLineRow.epoch.is_(None)))
    since = last if last is not None else oldest
    if oldest is not None and since is not None and since <= before:
        return close(session, now, config)
    if payouts.open_due(session, None, now, config, quiet_since=before):
        wake(session, "billing.settle")
    return None


def status(session: Session, epoch: int) -> EpochStatus:
    """Raises NotFound for an epoch that is not closed."""
    row = session.get(EpochRow, epoch)
    if row is None:
        raise NotFound(f"epoch {epoch} is not closed")
    return EpochStatus(
        epoch=row.number,
        root=row.root,
        line_count=row.line_count,
        total_microusd=row.total_microusd,
        closed_at=row.closed_at,
        anchor_signature=anchors(session, [epoch]).get(epoch),
        payouts=payouts.of_epoch(session, epoch),
    )


def anchors(session: Session, epochs: Sequence[int]) -> dict[int, str]:
    """The finalized anchor signatures of those epochs that have one."""
    rows = session.execute(
        select(SettlementBatchRow.epoch, SigningRow.signature)
        .join(SigningRow, SigningRow.batch_id == SettlementBatchRow.id)
        .where(SettlementBatchRow.epoch.in_(epochs), SigningRow.outcome == "finalized")
    )
    return {row.epoch: row.signature for row in rows}


def epoch_root(row: EpochRow) -> EpochRoot:
    """What is anchored of it."""
    return EpochRoot(epoch=row.number, root=row.root, line_count=row.line_count, total_microusd=row.total_microusd)


def public_line(row: UsageLineRow, secret: bytes) -> PublicLine:
    """A line as its epoch publishes it, with the parties under that epoch's pseudonyms."""
    return PublicLine.model_validate(
        {
            "line_id": row.id,
            "job_id": row.job_id,
            "lease_id": row.lease_id,
            "window_number": row.window_number,
            "organization": pseudonym(secret, row.organization_id),
            "provider": pseudonym(secret, row.provider_id),
            "unit": row.unit,
            "quantity_milli": row.quantity_milli,
            "price_microusd_per_unit_hour": row.price_microusd_per_unit_hour,
            "fee_basis_points": row.fee_basis_points,
            "from_ms": row.from_ms,
            "to_ms": row.to_ms,
            "charged_before_microusd": row.charged_before_microusd,
            "amount_microusd": row.amount_microusd,
            "provider_microusd": row.provider_microusd,
            "fee_microusd": row.fee_microusd,
            "rounding_microusd": row.rounding_microusd,
            "capped": row.capped,
            "captured_at": row.captured_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
    )


def leaf_hash(row: UsageLineRow, secret: bytes) -> str:
    """The line's leaf in its epoch's tree, hexadecimal."""
    return public_line(row, secret).leaf(line_salt(secret, row.id)).hex()


def root_over(leaf_hashes: Sequence[str], epoch: int, total_microusd: int) -> EpochRoot:
    """The root of an epoch with these leaves, in their order."""
    tree_root = merkle.root([bytes.fromhex(leaf) for leaf in leaf_hashes])
    return EpochRoot.over(tree_root, epoch=epoch, line_count=len(leaf_hashes), total_microusd=total_microusd)


def _stamp(session: Session, now: datetime) -> int | None:
    """Lines first, then the epoch's row: once that exists, the database lets no line into it.

    Nobody else stamps lines meanwhile, and a line that is there never changes.
    """
    number = (session.scalar(select(func.max(EpochRow.number))) or 0) + 1
    secret = secrets.token_bytes(32)
    tree, total = merkle.Growing(), 0
    for page in leaves.open_leaves(session, secret, LINES_MAX):
        stamps = [
            {"id": leaf.line_id, "leaf_index": index, "leaf_hash": leaf.digest.hex()}
            for index, leaf in enumerate(page, start=tree.count)
        ]
        session.execute(_STAMP, {"epoch": number, "stamps": json.dumps(stamps)})
        for leaf in page:
            tree.add(leaf.digest)
            total += leaf.amount_microusd
    if tree.count == 0:
        return None
    root = EpochRoot.over(tree.root(), epoch=number, line_count=tree.count, total_microusd=total)
    session.add(
        EpochRow(
            number=number,
            root=root.root,
            line_count=root.line_count,
            total_microusd=total,
            secret=secret,
            closed_at=now,
        )
    )
    session.flush()
    session.expire_all()
    publish(session, EpochClosed(epoch=number))
    return number
