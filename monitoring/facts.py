"""The facts behind each report: one set-based statement over the others' rows, bounded in time and in rows.

Rows come back grouped as the question wants them and unsorted; what is derived from them is in monitoring.frames.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from market.errors import TooLarge
from monitoring.measures import ROWS_MAX, Dimension, Question, Report, Row

STATEMENT_TIMEOUT_MS = 20_000

# The model of a lease: of its GPUs, which are all of one offer; a lease without any is of CPUs.
_MODEL = "coalesce(gpus.model, 'CPU')"
_WITH_GPU = """LEFT JOIN gpus ON gpus.id = (
    SELECT gpu_id FROM lease_gpus WHERE lease_gpus.lease_id = {lease} LIMIT 1)"""

_GMV = """
    SELECT {keys}
        count(*) AS usage_lines,
        sum(lines.amount_microusd)::bigint AS gmv_microusd,
        sum(lines.provider_microusd)::bigint AS provider_microusd,
        sum(lines.fee_microusd)::bigint AS fee_microusd,
        sum(lines.rounding_microusd)::bigint AS rounding_microusd
    FROM (
        SELECT lines.*, lines.captured_at AS at, {model} AS model
        FROM usage_lines AS lines JOIN metered_leases AS metered ON metered.lease_id = lines.lease_id
        {with_gpu}
        WHERE lines.captured_at >= :since AND lines.captured_at < :until AND metered.simulated = :simulated
    ) AS lines
    {group}
"""

# What was leased after its attempt ended is a lost node's lease that nobody could use: it is not counted.
_LEASED = """
    SELECT leases.granted_at AS from_at,
        least(coalesce(attempts.ended_at, leases.released_at, :until), :until) AS until_at,
        leases.unit, {model} AS model, attempts.provider_id, leases.quantity_milli
    FROM leases JOIN attempts ON attempts.id = leases.attempt_id
    {with_gpu}
    WHERE leases.granted_at < :until AND (leases.released_at IS NULL OR leases.released_at > :since)
        AND leases.simulated = :simulated
"""
_OFFERED = """
    SELECT from_at, least(coalesce(until_at, :until), :until) AS until_at, unit, model, provider_id, quantity_milli
    FROM supply_intervals
    WHERE from_at < :until AND (until_at IS NULL OR until_at > :since) AND simulated = :simulated
"""
_UNIT_TIME = """
    SELECT {keys} unit,
        div(sum(quantity_milli * floor(extract(epoch FROM part_until - part_from) * 1000)), 1000)::bigint AS unit_ms
    FROM (
        SELECT held.*, step AS at, greatest(held.from_at, step, :since) AS part_from,
            least(held.until_at, step + :step) AS part_until
        FROM ({held}) AS held,
            LATERAL generate_series({first}, held.until_at, :step) AS step
    ) AS held
    WHERE part_until > part_from
    {group}
"""

# A job waits until it is placed for the first time; one that waits still has no wait yet.
_QUEUE_WAIT = """
    SELECT {keys} count(*) AS jobs,
        percentile_disc(0.50) WITHIN GROUP (ORDER BY wait_ms) AS wait_p50_ms,
        percentile_disc(0.90) WITHIN GROUP (ORDER BY wait_ms) AS wait_p90_ms,
        percentile_disc(0.99) WITHIN GROUP (ORDER BY wait_ms) AS wait_p99_ms,
        max(wait_ms) AS wait_max_ms
    FROM (
        SELECT attempts.placed_at AS at, attempts.provider_id, jobs.organization_id, {model} AS model,
            floor(extract(epoch FROM attempts.placed_at - jobs.created_at) * 1000)::bigint AS wait_ms
        FROM attempts JOIN jobs ON jobs.id = attempts.job_id JOIN leases ON leases.attempt_id = attempts.id
        {with_gpu}
        WHERE attempts.number = 1 AND attempts.placed_at >= :since AND attempts.placed_at < :until
            AND leases.simulated = :simulated
    ) AS waits
    {group}
"""

# Of the newest attempt; a job that was never placed has neither provider nor model.
_OUTCOMES = """
    SELECT {keys} reason, count(*) AS jobs
    FROM (
        SELECT jobs.ended_at AS at, jobs.reason, jobs.organization_id,
            coalesce(attempts.provider_id, '') AS provider_id,
            CASE WHEN leases.id IS NULL THEN '' ELSE {model} END AS model
        FROM jobs
        LEFT JOIN attempts ON attempts.job_id = jobs.id AND attempts.number = jobs.attempts_placed
        LEFT JOIN leases ON leases.attempt_id = attempts.id
        {with_gpu}
        WHERE jobs.ended_at >= :since AND jobs.ended_at < :until
            AND coalesce(leases.simulated, jobs.simulated) = :simulated
    ) AS ended
    {group}
"""

_KEYS = {
    Dimension.HOUR: "date_trunc('hour', at, 'UTC')",
    Dimension.DAY: "date_trunc('day', at, 'UTC')",
    Dimension.MODEL: "model",
    Dimension.PROVIDER: "provider_id",
    Dimension.ORGANIZATION: "organization_id",
}


def load(session: Session, question: Question) -> dict[str, list[Row]]:
    """The rows of a question by the name of their set. Raises TooLarge for more than ROWS_MAX of them."""
    with _bounded(session):
        return _load(session, question)


@contextmanager
def _bounded(session: Session) -> Iterator[None]:
    """No statement in it takes longer than STATEMENT_TIMEOUT_MS, in a transaction or in none."""
    session.execute(text(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))
    try:
        yield
    finally:
        # A transaction that failed takes it back itself.
        with suppress(DBAPIError):
            session.execute(text("RESET statement_timeout"))


def _load(session: Session, question: Question) -> dict[str, list[Row]]:
    match question.report:
        case Report.GMV:
            return {"lines": _rows(session, question, _GMV.format(**_parts(question, "lines.lease_id")))}
        case Report.QUEUE_WAIT:
            return {"waits": _rows(session, question, _QUEUE_WAIT.format(**_parts(question, "leases.id")))}
        case Report.OUTCOMES:
            parts = _parts(question, "leases.id", "reason")
            return {"outcomes": _rows(session, question, _OUTCOMES.format(**parts))}
        case Report.UTILIZATION:
            return {
                "leased": _rows(session, question, _unit_time(question, _LEASED)),
                "offered": _rows(session, question, _unit_time(question, _OFFERED)),
            }


def _unit_time(question: Question, held: str) -> str:
    unit = "hour" if Dimension.HOUR in question.by else "day"
    first = f"date_trunc('{unit}', greatest(held.from_at, :since), 'UTC')" if question.step else ":since"
    parts = _parts(question, "leases.id", "unit")
    return _UNIT_TIME.format(
        held=held.format(model=parts.pop("model"), with_gpu=parts.pop("with_gpu")), first=first, **parts
    )


def _parts(question: Question, lease: str, *always: str) -> dict[str, str]:
    """The grouping of a statement. Without any a group of nothing would still be a row, so it is left out."""
    keys = [f"{_KEYS[dimension]} AS {dimension.value}," for dimension in question.by]
    positions = [str(place) for place in range(1, len(keys) + len(always) + 1)]
    group = f"GROUP BY {', '.join(positions)}" if positions else "HAVING count(*) > 0"
    # Asked for only where it is wanted: it is a look-up for every lease.
    by_model = Dimension.MODEL in question.by
    return {
        "keys": " ".join(keys),
        "group": group,
        "model": _MODEL if by_model else "''",
        "with_gpu": _WITH_GPU.format(lease=lease) if by_model else "",
    }


def _rows(session: Session, question: Question, statement: str) -> list[Row]:
    values = {
        "since": question.since,
        "until": question.until,
        "simulated": question.simulated,
        "step": question.step or question.until - question.since,
    }
    limited: TextClause = text(f"{statement} LIMIT {ROWS_MAX + 1}")
    wanted = {name: value for name, value in values.items() if f":{name}" in statement}
    rows: Sequence[RowMapping] = session.execute(limited, wanted).mappings().all()
    if len(rows) > ROWS_MAX:
        raise TooLarge(
            f"the report has more than {ROWS_MAX} rows", remedy="ask for a shorter time, or by fewer dimensions"
        )
    return [{name: _written(value) for name, value in row.items()} for row in rows]


def _written(value: object) -> object:
    """The beginning of an hour or a day as text, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if isinstance(value, datetime) else value
