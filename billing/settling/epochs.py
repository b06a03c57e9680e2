"""Epochs: a close stamps every open usage line, fixes their Merkle root, and opens the payouts that they make due."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import Session

from billing.metering import components
from billing.settling import leaves, payouts
from billing.settling.leaves import Leaf
from billing.tables.bills import EpochBlockRow, EpochRow, UsageLineRow
from billing.tables.settlement import SettlementBatchRow, SigningRow
from infra.bulk import insert_rows
from infra.outbox import publish, wake
from infra.settings import Settings, settings
from market import merkle
from market.components import Components
from market.errors import NotFound
from market.messages import EpochClosed
from market.receipts import EpochRoot, PublicLine, pseudonym

LINES_MAX = 1_000_000
"""Lines of one epoch; what is over closes with the next."""
_CLOSING = 0x67726964_0001

_STAMP = text(
    "UPDATE usage_lines AS line SET epoch = :epoch, leaf_index = stamp.leaf_index, leaf_hash = stamp.leaf_hash "
    "FROM (SELECT id, leaf_hash, :start + at - 1 AS leaf_index FROM unnest(string_to_array(:ids, ','), "
    "string_to_array(:hashes, ',')) WITH ORDINALITY AS given (id, leaf_hash, at)) AS stamp WHERE line.id = stamp.id"
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


def public_lines(session: Session, rows: Sequence[UsageLineRow], secret_of: Mapping[int, bytes]) -> list[PublicLine]:
    """Lines of closed epochs as these publish them, the parties under the epoch's pseudonyms. secret_of: by epoch."""
    made = components.of_leases(session, {row.lease_id for row in rows})
    return [_public_line(row, secret_of, made.get(row.lease_id)) for row in rows]


def _public_line(row: UsageLineRow, secret_of: Mapping[int, bytes], made: Components | None) -> PublicLine:
    assert row.epoch is not None
    secret = secret_of[row.epoch]
    return PublicLine.model_validate(
        {
            **(made.model_dump() if made is not None else {}),
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
            "discount_basis_points": row.discount_basis_points,
            "from_ms": row.from_ms,
            "to_ms": row.to_ms,
            "minimum_ms": row.minimum_ms,
            "charged_before_microusd": row.charged_before_microusd,
            "amount_microusd": row.amount_microusd,
            "provider_microusd": row.provider_microusd,
            "fee_microusd": row.fee_microusd,
            "rounding_microusd": row.rounding_microusd,
            "capped": row.capped,
            "captured_at": row.captured_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
    )


def _stamp(session: Session, now: datetime) -> int | None:
    """The epoch's row first, open, then its lines, then its root: once that stands, the database lets no line into it.

    Nobody else stamps lines meanwhile, and a line that is there never changes.
    """
    if not session.scalar(select(exists().where(UsageLineRow.epoch.is_(None)))):
        return None
    number = (session.scalar(select(func.max(EpochRow.number))) or 0) + 1
    row = EpochRow(
        number=number, root="", line_count=0, total_microusd=0, secret=secrets.token_bytes(32), closed_at=now
    )
    session.add(row)
    session.flush()
    blocks: list[bytes] = []
    waiting: list[bytes] = []
    count = total = 0
    for page in _stamped(session, number, leaves.Hashing(row.secret)):
        waiting += [leaf.digest for leaf in page]
        total += sum(leaf.amount_microusd for leaf in page)
        count += len(page)
        while len(waiting) >= merkle.BLOCK:
            blocks.append(merkle.root(waiting[: merkle.BLOCK]))
            del waiting[: merkle.BLOCK]
    if waiting:
        blocks.append(merkle.root(waiting))
    roots = [{"epoch": number, "number": at, "root": block.hex()} for at, block in enumerate(blocks)]
    insert_rows(session, EpochBlockRow, roots)
    # A block is a whole part of the tree: what stands above the blocks is a tree of their roots.
    root = EpochRoot.over(merkle.root(blocks), epoch=number, line_count=count, total_microusd=total)
    row.root, row.line_count, row.total_microusd = root.root, root.line_count, total
    session.flush()
    session.expire_all()
    publish(session, EpochClosed(epoch=number))
    return number


def _stamped(session: Session, epoch: int, hashed: leaves.Hashing) -> Iterator[list[Leaf]]:
    """Every open line's leaf, page by page. While the database stamps a page the next one is hashed here; the session
    is one thread's at a time."""

    def stamp(page: list[Leaf], start: int) -> None:
        # Two texts for thousands of values, of which none holds a comma.
        ids = ",".join([leaf.line_id for leaf in page])
        hashes = ",".join([leaf.digest.hex() for leaf in page])
        session.execute(_STAMP, {"epoch": epoch, "start": start, "ids": ids, "hashes": hashes})

    page: list[Leaf] = []
    count = 0
    with ThreadPoolExecutor(1) as stamping:
        for text_of_page in leaves.open_pages(session, LINES_MAX):
            stamped = stamping.submit(stamp, page, count - len(page))
            page = hashed(text_of_page)
            stamped.result()
            count += len(page)
            yield page
    stamp(page, count - len(page))
