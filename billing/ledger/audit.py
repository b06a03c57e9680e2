"""The audit: asks the database for every broken invariant of the ledger, and says each in words."""

from collections.abc import Iterator

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from billing.settling import epochs
from billing.tables.bills import EpochRow, UsageLineRow

FOUND_MAX = 20
"""Examples of each broken invariant."""
EPOCHS_RECOMPUTED = 3
"""How many of the newest epochs are hashed anew."""

# Each query gives one text a row: what is broken.
_QUERIES = {
    "the whole ledger sums to zero": """
        SELECT 'balances add up to ' || sum(balance_microusd) FROM accounts HAVING sum(balance_microusd) <> 0
        UNION ALL SELECT 'entries add up to ' || sum(amount_microusd) FROM entries HAVING sum(amount_microusd) <> 0""",
    "a stored balance equals its entries": """
        SELECT a.id || ' stores ' || a.balance_microusd || ', its entries give ' || coalesce(e.amount, 0)
        FROM accounts a LEFT JOIN (SELECT account_id, sum(amount_microusd) AS amount FROM entries GROUP BY 1) e
          ON e.account_id = a.id WHERE a.balance_microusd <> coalesce(e.amount, 0)""",
    "every transfer balances": """
        SELECT t.key || ' has ' || count(e.account_id) || ' entries that give ' || coalesce(sum(e.amount_microusd), 0)
        FROM transfers t LEFT JOIN entries e ON e.transfer_id = t.id GROUP BY t.key
        HAVING count(e.account_id) < 2 OR sum(e.amount_microusd) <> 0""",
    "held equals the open holds": """
        SELECT coalesce(a.id, h.id) || ' is ' || coalesce(a.balance_microusd, 0) || ', open holds are ' ||
          coalesce(h.amount, 0)
        FROM (SELECT * FROM accounts WHERE kind = 'held') a FULL JOIN (
          SELECT 'org:' || organization_id || ':held' AS id, sum(amount_microusd) AS amount FROM holds
          WHERE settled_at IS NULL GROUP BY 1) h ON h.id = a.id
        WHERE coalesce(a.balance_microusd, 0) <> coalesce(h.amount, 0)""",
    "a window and its hold are settled together": """
        SELECT w.id || ' and ' || h.id || ' are not settled alike' FROM windows w JOIN holds h ON h.id = w.hold_id
        WHERE (w.settled_at IS NULL) <> (h.settled_at IS NULL)""",
    "a settled lease and an ended job leave nothing held": """
        SELECT l.lease_id || ' is settled, ' || w.id || ' is not'
        FROM metered_leases l JOIN windows w USING (lease_id)
        WHERE l.settled_at IS NOT NULL AND w.settled_at IS NULL
        UNION ALL SELECT t.job_id || ' has ended, ' || h.id || ' still waits for an attempt'
        FROM job_terms t JOIN holds h USING (job_id) LEFT JOIN windows w ON w.hold_id = h.id
        WHERE t.ended_at IS NOT NULL AND h.settled_at IS NULL AND w.id IS NULL""",
    "a captured hold has one line of that amount": """
        SELECT h.id || ' captured ' || h.captured_microusd || ', its line says ' || coalesce(l.amount_microusd, 0)
        FROM holds h LEFT JOIN windows w ON w.hold_id = h.id LEFT JOIN usage_lines l ON l.window_id = w.id
        WHERE coalesce(h.captured_microusd, 0) <> coalesce(l.amount_microusd, 0)""",
    "a line's transfer is its split": """
        SELECT l.id || ' of ' || l.amount_microusd || ' was posted as ' || coalesce(p.entries::text, 'nothing')
        FROM usage_lines l LEFT JOIN (
          SELECT t.key, jsonb_object_agg(e.account_id, e.amount_microusd) AS entries
          FROM transfers t JOIN entries e ON e.transfer_id = t.id WHERE t.key LIKE 'capture:%' GROUP BY t.key
        ) p ON p.key = 'capture:' || l.window_id
        WHERE coalesce(p.entries, '{}') <> (
          SELECT coalesce(jsonb_object_agg(name, amount), '{}') FROM (VALUES
            ('org:' || l.organization_id || ':held', -l.amount_microusd),
            ('provider:' || l.provider_id || ':payable', l.provider_microusd),
            ('platform:fees', l.fee_microusd), ('platform:rounding', l.rounding_microusd)
          ) AS leg (name, amount) WHERE amount <> 0)
        UNION ALL SELECT t.key || ' has no line' FROM transfers t
        WHERE t.key LIKE 'capture:%'
          AND NOT EXISTS (SELECT 1 FROM usage_lines l WHERE 'capture:' || l.window_id = t.key)""",
    "what providers earned is payable, paying or paid": """
        SELECT provider_id || ' earned ' || sum(earned) || ', of which ' || sum(found) || ' is found' FROM (
          SELECT provider_id, provider_microusd AS earned, 0 AS found FROM usage_lines
          UNION ALL SELECT provider_id, 0, amount_microusd FROM payouts WHERE state = 'confirmed'
          UNION ALL SELECT split_part(id, ':', 2), 0, balance_microusd FROM accounts WHERE kind IN ('payable', 'paying')
        ) AS sums GROUP BY provider_id HAVING sum(earned) <> sum(found)""",
    "paying equals the open payouts": """
        SELECT a.id || ' is ' || a.balance_microusd || ', open payouts are ' || coalesce(p.amount, 0)
        FROM accounts a LEFT JOIN (SELECT provider_id, sum(amount_microusd) AS amount FROM payouts
          WHERE state = 'open' GROUP BY 1) p ON a.id = 'provider:' || p.provider_id || ':paying'
        WHERE a.kind = 'paying' AND a.balance_microusd <> coalesce(p.amount, 0)""",
    "confirmed payouts are in a finalized batch": """
        SELECT p.id || ' is confirmed without a finalized transaction' FROM payouts p
        WHERE p.state = 'confirmed' AND NOT EXISTS (SELECT 1 FROM settlement_signings s
          WHERE s.batch_id = p.batch_id AND s.outcome = 'finalized')""",
    "lines of a lease follow each other, within its time and its rate": """
        SELECT l.id || ' does not continue the line before it, or charges more than its time' FROM (
          SELECT u.*, m.granted_at, m.ended_at, w.until_at,
            coalesce(lag(to_ms) OVER lease, 0) AS reached,
            coalesce(sum(amount_microusd) OVER (lease ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS charged
          FROM usage_lines u JOIN metered_leases m USING (lease_id) JOIN windows w ON w.id = u.window_id
          WINDOW lease AS (PARTITION BY u.lease_id ORDER BY u.window_number)) l
        WHERE l.from_ms <> l.reached OR l.charged_before_microusd <> l.charged
          OR l.charged + l.amount_microusd >
            div(l.quantity_milli::numeric * l.to_ms * l.price_microusd_per_unit_hour, 3600000000)
          OR l.to_ms > extract(epoch FROM l.until_at - l.granted_at) * 1000""",
    "a lease's counters are those of its lines": """
        SELECT m.lease_id || ' counts ' || m.charged_microusd || ', its lines ' || coalesce(sum(l.amount_microusd), 0)
        FROM metered_leases m LEFT JOIN usage_lines l USING (lease_id) GROUP BY m.lease_id
        HAVING m.charged_microusd <> coalesce(sum(l.amount_microusd), 0)
          OR m.metered_ms <> coalesce(max(l.to_ms), 0)""",
    "no job costs more than its limit": """
        SELECT t.job_id || ' has cost and holds ' || c.amount || ', its limit is ' || t.max_total_microusd
        FROM job_terms t JOIN (SELECT job_id, sum(amount) AS amount FROM (
          SELECT job_id, amount_microusd AS amount FROM usage_lines
          UNION ALL SELECT job_id, amount_microusd FROM holds WHERE settled_at IS NULL) s GROUP BY 1) c USING (job_id)
        WHERE c.amount > t.max_total_microusd""",
    "an epoch is its lines": """
        SELECT 'epoch ' || e.number || ' says ' || e.line_count || ' lines of ' || e.total_microusd || ', found ' ||
          count(l.id) || ' of ' || coalesce(sum(l.amount_microusd), 0)
        FROM epochs e LEFT JOIN usage_lines l ON l.epoch = e.number GROUP BY e.number
        HAVING e.line_count <> count(l.id) OR e.total_microusd <> coalesce(sum(l.amount_microusd), 0)
          OR max(l.leaf_index) <> e.line_count - 1
        UNION ALL SELECT 'epochs up to ' || max(number) || ' are ' || count(*) FROM epochs
        HAVING max(number) <> count(*)""",
    "custody is deposits less payouts": """
        SELECT 'custody is ' || -coalesce(sum(balance_microusd), 0) || ', deposits less payouts are ' || c.amount
        FROM (SELECT (SELECT coalesce(sum(amount_microusd), 0) FROM deposit_credits)
          - (SELECT coalesce(sum(amount_microusd - rent_microusd), 0) FROM payouts WHERE state = 'confirmed')
          AS amount) c
        LEFT JOIN accounts ON kind = 'treasury' GROUP BY c.amount HAVING -coalesce(sum(balance_microusd), 0) <> c.amount
    """,
}


def _selected(invariant: str, query: str) -> str:
    quoted = invariant.replace("'", "''")
    return f"SELECT '{quoted}: ' || broken FROM ({query} LIMIT {FOUND_MAX}) AS found (broken)"  # noqa: S608 (constants)


# One statement sees one moment, however busy the ledger is.
# Its colons are of account names, not of parameters.
_ALL = text(" UNION ALL ".join(_selected(*item) for item in _QUERIES.items()).replace(":", r"\:"))


def check(session: Session) -> list[str]:
    """Every broken invariant, in words; empty when the books are right."""
    return [*session.scalars(_ALL), *_changed_epochs(session)]


def _changed_epochs(session: Session) -> Iterator[str]:
    """The newest epochs whose lines no longer hash to their root."""
    for epoch in session.scalars(select(EpochRow).order_by(EpochRow.number.desc()).limit(EPOCHS_RECOMPUTED)):
        rows = session.scalars(
            select(UsageLineRow).where(UsageLineRow.epoch == epoch.number).order_by(UsageLineRow.leaf_index)
        ).all()
        leaves = [epochs.leaf_hash(row, epoch.secret) for row in rows]
        for row, leaf in zip(rows, leaves, strict=True):
            if row.leaf_hash != leaf:
                yield f"a closed epoch never changes: {row.id} is not what epoch {epoch.number} was closed over"
        if epochs.root_over(leaves, epoch.number, sum(row.amount_microusd for row in rows)).root != epoch.root:
            yield f"a closed epoch never changes: the lines of epoch {epoch.number} do not lead to its root"
