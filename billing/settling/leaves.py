"""The leaves of an epoch: its lines, read some thousand at a time and hashed as they are published.

The bytes are those of `epochs.public_line(row, secret).leaf(salt)`, written out, because a close hashes a million.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from billing.metering.components import FIELDS
from market.receipts import LEAF_TAG, line_salt, pseudonym

PAGE_LINES = 20_000
_TAGGED = LEAF_TAG.encode() + b"\n"

# One text for many rows: the driver takes as long for a column as the server for a row.
_PAGE = """
    SELECT string_agg(concat_ws(E'\\t', id, organization_id, provider_id, amount_microusd,
      CASE WHEN capped THEN 'true' ELSE 'false' END,
      to_char(captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      charged_before_microusd, discount_basis_points, fee_basis_points, fee_microusd, from_ms, job_id, lease_id,
      minimum_ms, price_microusd_per_unit_hour, provider_microusd, quantity_milli, rounding_microusd, to_ms, unit,
      window_number, coalesce(leaf_hash, ''), concat_ws(' ', {made})
    ), E'\\n' ORDER BY id)
    FROM (SELECT * FROM usage_lines WHERE {these}) AS page
    LEFT JOIN metered_components AS made USING (lease_id)
    """.replace('DD"T"HH24:MI:SS', 'DD"T"HH24\\:MI\\:SS')
_MADE = ", ".join(f"made.{name}" for name in sorted(FIELDS))
_OPEN = text(_PAGE.format(made=_MADE, these="epoch IS NULL AND id > :after ORDER BY id LIMIT :limit"))
_CLOSED = text(_PAGE.format(made=_MADE, these="epoch = :epoch AND leaf_index >= :start AND leaf_index < :end"))
# In the order of their names, as canonical JSON has them.
_CANONICAL = (
    b'{"amount_microusd":%b,%b"capped":%b,"captured_at":"%b","charged_before_microusd":%b,%b%b%b"fee_basis_points":%b,'
    b'"fee_microusd":%b,"from_ms":%b,"job_id":"%b","lease_id":"%b","line_id":"%b",%b%b"organization":"%b",'
    b'"price_microusd_per_unit_hour":%b,"provider":"%b","provider_microusd":%b,"quantity_milli":%b,'
    b'"rounding_microusd":%b,"to_ms":%b,"unit":"%b",%b"window_number":%b}'
)
_MADE_OF_NOTHING_MORE = (b"",) * 5


class Leaf(NamedTuple):
    """digest: 32 bytes; stamped: the one that its line was stamped with, hexadecimal, empty while it is open."""

    line_id: str
    amount_microusd: int
    digest: bytes
    stamped: str


def open_pages(session: Session, limit: int) -> Iterator[str]:
    """The open lines in the order of their ids, `limit` at most, page by page, to be hashed."""
    after = ""
    while limit > 0:
        page = session.scalar(_OPEN, {"after": after, "limit": min(limit, PAGE_LINES)})
        if page is None:
            return
        yield page
        after = page[page.rfind("\n") + 1 :].partition("\t")[0]
        limit -= page.count("\n") + 1


def closed_leaves(session: Session, secret: bytes, epoch: int, start: int, limit: int) -> Iterator[Leaf]:
    """The leaves of a closed epoch's lines from that one on, hashed anew. Raises ValueError, as Hashing."""
    hashed = Hashing(secret)
    for first in range(start, start + limit, PAGE_LINES):
        end = min(first + PAGE_LINES, start + limit)
        page = session.scalar(_CLOSED, {"epoch": epoch, "start": first, "end": end})
        if page is None:
            return
        yield from hashed(page)


def _unless_0(name: bytes, value: bytes) -> bytes:
    """A field of those that are left out where they are 0."""
    return b"" if value == b"0" else b'"%b":%b,' % (name, value)


def _made_of(values: bytes) -> tuple[bytes, ...]:
    """What a price was made of, in the pieces between a line's other fields: bid, CPUs, disk, memory, unit."""
    if not values:
        return _MADE_OF_NOTHING_MORE
    fields = zip(sorted(FIELDS), values.split(b" "), strict=True)
    bid, cpu, cpu_milli, disk_bytes, disk, memory_bytes, memory, unit = (
        _unless_0(name.encode(), value) for name, value in fields
    )
    return bid, cpu + cpu_milli, disk_bytes + disk, memory_bytes + memory, unit


class Hashing:
    """The leaves of a page's rows, under one epoch's secret.

    Raises ValueError for a line with a name that JSON would have to escape, or with a comma; no name of ours is such.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._pseudonym = cache(lambda party: pseudonym(secret, party.decode()).encode())

    def __call__(self, page: str) -> list[Leaf]:
        if '"' in page or "\\" in page or "," in page:
            raise ValueError("the name of a line, job or lease holds a quote, a backslash or a comma")
        leaves, sha256, secret, pseudonym_of = [], hashlib.sha256, self._secret, self._pseudonym
        for row in page.encode().split(b"\n"):
            (line_id, owner, provider, amount, capped, captured_at, before, less, basis, fee, from_ms, job, lease,
             least, price, share, quantity, rounding, to_ms, unit, window, stamped,
             made) = row.split(b"\t")  # fmt: skip
            bid, cpu, disk, memory, of_unit = _made_of(made)
            canonical = _CANONICAL % (
                amount, bid, capped, captured_at, before, cpu, _unless_0(b"discount_basis_points", less), disk, basis,
                fee, from_ms, job, lease, line_id, memory, _unless_0(b"minimum_ms", least), pseudonym_of(owner),
                price, pseudonym_of(provider), share, quantity, rounding, to_ms, unit, of_unit, window,
            )  # fmt: skip
            name = line_id.decode()
            digest = sha256(_TAGGED + line_salt(secret, name) + canonical).digest()
            leaves.append(Leaf(name, int(amount), digest, stamped.decode()))
        return leaves
