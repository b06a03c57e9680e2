"""The audit: asks the database for every broken invariant of the ledger, and says each in words."""

from collections.abc import Iterator

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from billing.settling import leaves
from billing.tables.bills import EpochRow
from market import merkle
from market.receipts import EpochRoot

FOUND_MAX = 20
"""Examples of each broken invariant."""
EPOCHS_RECOMPUTED = 3
"""How many of the newest epochs are hashed anew."""
LINES_RECOMPUTED = 50_000
"""Lines of each that are hashed anew at once; of a larger epoch it is another part each minute."""

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
    "entries name a transfer and an account": """
        SELECT e.transfer_id || ' moves ' || e.account_id || ', one of which is not there' FROM entries e
        LEFT JOIN transfers t ON t.id = e.transfer_id LEFT JOIN accounts a ON a.id = e.account_id
        WHERE t.id IS NULL OR a.id IS NULL""",
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
          UNION ALL SELECT provider_id, owed_microusd + borne_microusd - provider_microusd - recovered_microusd, 0
            FROM adjustments
          UNION ALL SELECT provider_id, 0, amount_microusd FROM payouts
            WHERE state = 'confirmed' AND provider_id IS NOT NULL
          UNION ALL SELECT split_part(id, ':', 2), 0, balance_microusd FROM accounts WHERE kind IN ('payable', 'paying')
        ) AS sums GROUP BY provider_id HAVING sum(earned) <> sum(found)""",
    "paying equals the open payouts": """
        SELECT a.id || ' is ' || a.balance_microusd || ', open payouts are ' || coalesce(p.amount, 0)
        FROM accounts a LEFT JOIN (SELECT provider_id, sum(amount_microusd) AS amount FROM payouts
          WHERE state = 'open' GROUP BY 1) p ON a.id = 'provider:' || p.provider_id || ':paying'
        WHERE a.kind = 'paying' AND a.balance_microusd <> coalesce(p.amount, 0)""",
    "withdrawing equals the withdrawals on their way": """
        SELECT coalesce(a.id, w.id) || ' is ' || coalesce(a.balance_microusd, 0) || ', withdrawals on their way are ' ||
          coalesce(w.amount, 0)
        FROM (SELECT * FROM accounts WHERE kind = 'withdrawing') a FULL JOIN (
          SELECT 'org:' || w.organization_id || ':withdrawing' AS id, sum(w.amount_microusd) AS amount
          FROM withdrawals w LEFT JOIN payouts p ON p.id = w.payout_id
          WHERE w.cancelled_at IS NULL AND (w.payout_id IS NULL OR p.state = 'open') GROUP BY 1) w ON w.id = a.id
        WHERE coalesce(a.balance_microusd, 0) <> coalesce(w.amount, 0)""",
    "a withdrawal is one payout": """
        SELECT coalesce(p.id, w.payout_id) || ' is not what ' || coalesce(w.id, 'any withdrawal') || ' asked for'
        FROM (SELECT * FROM withdrawals WHERE payout_id IS NOT NULL) w
        FULL JOIN (SELECT * FROM payouts WHERE organization_id IS NOT NULL) p ON p.id = w.payout_id
        WHERE (w.organization_id, w.wallet_address, w.amount_microusd) IS DISTINCT FROM
          (p.organization_id, p.wallet_address, p.amount_microusd)""",
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
            div(l.quantity_milli::numeric * greatest(l.to_ms, l.minimum_ms) * l.price_microusd_per_unit_hour,
              3600000000)
          OR l.to_ms > extract(epoch FROM l.until_at - l.granted_at) * 1000""",
    "a price follows from what it was made of": """
        SELECT m.lease_id || ' costs ' || m.price_microusd_per_unit_hour || ', what it was made of gives ' || m.paid
        FROM (
          SELECT l.*, least(div(
            (made.unit_microusd_per_hour + coalesce(div(
              made.cpu_milli::numeric * made.cpu_microusd_per_hour * 1073741824
                + 1000 * (made.memory_bytes::numeric * made.memory_microusd_per_gib_hour
                  + made.disk_bytes::numeric * made.disk_microusd_per_gib_hour),
              nullif(l.quantity_milli, 0)::numeric * 1073741824), 0)) * (10000 - l.discount_basis_points),
            10000), nullif(made.bid_microusd_per_unit_hour, 0)) AS paid
          FROM metered_leases l JOIN metered_components made USING (lease_id)) m
        WHERE m.price_microusd_per_unit_hour <> m.paid""",
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
    "adjustments reverse no more of a line than it charged": """
        SELECT l.id || ' charged ' || l.amount_microusd || ', adjustments give back ' || sum(a.amount_microusd)
        FROM adjustments a JOIN usage_lines l ON l.id = a.line_id GROUP BY l.id
        HAVING sum(a.amount_microusd) > l.amount_microusd OR sum(a.provider_microusd) > l.provider_microusd
          OR sum(a.fee_microusd) > l.fee_microusd OR sum(a.rounding_microusd) > l.rounding_microusd
          OR bool_or(a.job_id <> l.job_id OR a.organization_id <> l.organization_id OR a.provider_id <> l.provider_id)
        UNION ALL SELECT a.id || ' reverses ' || a.line_id || ', which is not there' FROM adjustments a
        WHERE NOT EXISTS (SELECT FROM usage_lines l WHERE l.id = a.line_id)""",
    "an adjustment's transfers are its reversal": """
        SELECT a.id || ' of ' || a.amount_microusd || ' was posted as ' || coalesce(p.entries::text, 'nothing')
        FROM adjustments a LEFT JOIN (
          SELECT id, jsonb_object_agg(account_id, amount) AS entries FROM (
            SELECT split_part(t.key, ':', 2) AS id, e.account_id, sum(e.amount_microusd) AS amount
            FROM transfers t JOIN entries e ON e.transfer_id = t.id
            WHERE t.key LIKE 'adjust:%' OR t.key LIKE 'recover:%' GROUP BY 1, 2) moved WHERE amount <> 0 GROUP BY id
        ) p ON p.id = a.id
        WHERE coalesce(p.entries, '{}') <> (
          SELECT coalesce(jsonb_object_agg(name, amount), '{}') FROM (VALUES
            ('org:' || a.organization_id || ':available', a.amount_microusd),
            ('provider:' || a.provider_id || ':payable',
              a.owed_microusd + a.borne_microusd - a.provider_microusd - a.recovered_microusd),
            ('platform:fees', a.recovered_microusd - a.owed_microusd - a.borne_microusd - a.fee_microusd),
            ('platform:rounding', -a.rounding_microusd)
          ) AS leg (name, amount) WHERE amount <> 0)
        UNION ALL SELECT t.key || ' has no adjustment' FROM transfers t
        WHERE (t.key LIKE 'adjust:%' OR t.key LIKE 'recover:%')
          AND NOT EXISTS (SELECT 1 FROM adjustments a WHERE a.id = split_part(t.key, ':', 2))""",
    "a budget counts what was funded in its period": """
        SELECT f.id || ' counts ' || f.used_microusd || ' since ' || f.starts_at || ', its holds are ' || f.found
        FROM (SELECT b.id, p.used_microusd, p.starts_at, (
            SELECT coalesce(sum(coalesce(h.captured_microusd, h.amount_microusd)), 0) FROM holds h
            JOIN job_terms t USING (job_id) WHERE h.organization_id = b.organization_id
              AND date_trunc(b.period, coalesce(h.starts_at, h.created_at), 'UTC') = p.starts_at 
              AND (b.label = '' OR b.label = ANY (t.labels))
          ) AS found FROM budgets b JOIN budget_periods p ON p.budget_id = b.id) f
        WHERE f.used_microusd <> f.found""",
    "no window was funded past a budget": """
        SELECT b.id || ' of ' || b.limit_microusd || ' has ' || p.used_microusd || ' funded since ' || p.starts_at
        FROM budgets b JOIN budget_periods p ON p.budget_id = b.id
        WHERE p.used_microusd > b.limit_microusd AND EXISTS (
          SELECT FROM holds h WHERE h.organization_id = b.organization_id AND h.created_at > b.changed_at
            AND date_trunc(b.period, coalesce(h.starts_at, h.created_at), 'UTC') = p.starts_at
            AND b.id = ANY (h.budgets) AND h.amount_microusd > 0)""",
    "an epoch is its lines": """
        SELECT 'epoch ' || e.number || ' says ' || e.line_count || ' lines of ' || e.total_microusd || ', found ' ||
          count(l.id) || ' of ' || coalesce(sum(l.amount_microusd), 0)
        FROM epochs e LEFT JOIN usage_lines l ON l.epoch = e.number GROUP BY e.number
        HAVING e.line_count <> count(l.id) OR e.total_microusd <> coalesce(sum(l.amount_microusd), 0)
          OR max(l.leaf_index) <> e.line_count - 1
        UNION ALL SELECT 'lines are stamped with epoch ' || l.epoch || ', which is not there'
        FROM (SELECT DISTINCT epoch FROM usage_lines WHERE epoch IS NOT NULL) l
        WHERE NOT EXISTS (SELECT 1 FROM epochs e WHERE e.number = l.epoch)
        UNION ALL SELECT 'epochs up to ' || max(number) || ' are ' || count(*) FROM epochs
        HAVING max(number) <> count(*)""",
    "confirmed pulls are in a finalized batch and credited once": """
        SELECT p.id || ' is ' || p.state || ', which its transaction is not, or posted as ' ||
          coalesce(t.entries::text, 'nothing')
        FROM pulls p LEFT JOIN (
          SELECT t.key, jsonb_object_agg(e.account_id, e.amount_microusd) AS entries
          FROM transfers t JOIN entries e ON e.transfer_id = t.id WHERE t.key LIKE 'pull:%' GROUP BY t.key
        ) t ON t.key = 'pull:' || p.id
        WHERE (p.state = 'confirmed') <> EXISTS (SELECT 1 FROM settlement_signings s
            WHERE s.batch_id = p.batch_id AND s.outcome = 'finalized')
          OR coalesce(t.entries, '{}') <> CASE WHEN p.state = 'confirmed' THEN jsonb_build_object(
            'chain:treasury', -p.amount_microusd, 'org:' || p.organization_id || ':available', p.amount_microusd)
            ELSE '{}' END
        UNION ALL SELECT t.key || ' has no pull' FROM transfers t WHERE t.key LIKE 'pull:%'
          AND NOT EXISTS (SELECT 1 FROM pulls p WHERE 'pull:' || p.id = t.key)""",
    "custody is deposits and pulls less payouts": """
        SELECT 'custody is ' || -coalesce(sum(balance_microusd), 0) || ', deposits and pulls less payouts are ' ||
          c.amount
        FROM (SELECT (SELECT coalesce(sum(amount_microusd), 0) FROM deposit_credits)
          + (SELECT coalesce(sum(amount_microusd), 0) FROM pulls WHERE state = 'confirmed')
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
    minute = int(session.scalar(select(func.extract("epoch", func.now()))) or 0) // 60
    for epoch in session.scalars(select(EpochRow).order_by(EpochRow.number.desc()).limit(EPOCHS_RECOMPUTED)).all():
        parts = -(-epoch.line_count // LINES_RECOMPUTED)
        start = minute % parts * LINES_RECOMPUTED
        tree, total = merkle.Growing(), 0
        for leaf in leaves.closed_leaves(session, epoch.secret, epoch.number, start, LINES_RECOMPUTED):
            tree.add(leaf.digest)
            total += leaf.amount_microusd
            if leaf.stamped != leaf.digest.hex():
                yield f"a closed epoch never changes: {leaf.line_id} is not what epoch {epoch.number} was closed over"
        over = EpochRoot.over(tree.root(), epoch=epoch.number, line_count=tree.count, total_microusd=total)
        if parts == 1 and over.root != epoch.root:
            yield f"a closed epoch never changes: the lines of epoch {epoch.number} do not lead to its root"
