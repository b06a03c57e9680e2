"""The leaves of an epoch that closes: open lines, read some thousand at a time and hashed as they will be published.

The bytes are those of `epochs.public_line(row, secret).leaf(salt)`, written out, because a close hashes a million.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from sqlalchemy import text
from sqlalchemy.orm import Session

from market.receipts import LEAF_TAG, line_salt, pseudonym

PAGE_LINES = 20_000
_TAGGED = LEAF_TAG.encode() + b"\n"

# One text for many rows: the driver takes as long for a column as the server for a row.
_PAGE = text(
    """
    SELECT string_agg(concat_ws(E'\\t', id, organization_id, provider_id, amount_microusd,
      CASE WHEN capped THEN 'true' ELSE 'false' END,
      to_char(captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      charged_before_microusd, fee_basis_points, fee_microusd, from_ms, job_id, lease_id,
      price_microusd_per_unit_hour, provider_microusd, quantity_milli, rounding_microusd, to_ms, unit, window_number
    ), E'\\n' ORDER BY id)
    FROM (SELECT * FROM usage_lines WHERE epoch IS NULL AND id > :after ORDER BY id LIMIT :limit) AS open
    """.replace('DD"T"HH24:MI:SS', 'DD"T"HH24\\:MI\\:SS')
)
# In the order of their names, as canonical JSON has them.
_CANONICAL = (
    b'{"amount_microusd":%b,"capped":%b,"captured_at":"%b","charged_before_microusd":%b,"fee_basis_points":%b,'
    b'"fee_microusd":%b,"from_ms":%b,"job_id":"%b","lease_id":"%b","line_id":"%b","organization":"%b",'
    b'"price_microusd_per_unit_hour":%b,"provider":"%b","provider_microusd":%b,"quantity_milli":%b,'
    b'"rounding_microusd":%b,"to_ms":%b,"unit":"%b","window_number":%b}'
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """digest: 32 bytes."""

    line_id: str
    amount_microusd: int
    digest: bytes


def open_leaves(session: Session, secret: bytes, limit: int) -> Iterator[list[Leaf]]:
    """The leaves of the open lines in the order of their ids, `limit` at most, page by page.

    Raises ValueError for a line with a name that JSON would have to escape; no name of ours does.
    """
    pseudonyms = cache(lambda party: pseudonym(secret, party.decode()).encode())
    after = ""
    while limit > 0:
        page: str | None = session.scalar(_PAGE, {"after": after, "limit": min(limit, PAGE_LINES)})
        if page is None:
            return
        if '"' in page or "\\" in page:
            raise ValueError("the name of a line, job or lease holds a quote or a backslash")
        leaves = []
        for row in page.encode().split(b"\n"):
            (line_id, owner, provider, amount, capped, captured_at, before, basis, fee, from_ms, job, lease, price,
             share, quantity, rounding, to_ms, unit, window) = row.split(b"\t")  # fmt: skip
            canonical = _CANONICAL % (
                amount, capped, captured_at, before, basis, fee, from_ms, job, lease, line_id, pseudonyms(owner),
                price, pseudonyms(provider), share, quantity, rounding, to_ms, unit, window,
            )  # fmt: skip
            name = line_id.decode()
            digest = hashlib.sha256(_TAGGED + line_salt(secret, name) + canonical).digest()
            leaves.append(Leaf(name, int(amount), digest))
        yield leaves
        after = leaves[-1].line_id
        limit -= len(leaves)
