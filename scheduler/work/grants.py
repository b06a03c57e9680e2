"""Grants: what a round placed becomes attempts and leases, thousands in one statement.

What a job asks and a node is stands in their rows; only what was decided is sent.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from infra.bulk import insert_rows
from infra.statements import Statement
from infra.wakeups import after_commit
from infra.writing import Write, write
from market.components import Components
from market.states import AttemptState, JobState, Reason, advance
from scheduler.tables import Attempt, Job, Lease, LeaseComponents, LeaseGpu, Node
from scheduler.tables.leases import WHOLE_GPU_TEXT


@dataclass(frozen=True, slots=True)
class Grant:
    """An attempt and its lease to be: whole GPUs by their keys, the price it keeps, in micro-USDC for a unit and hour,
    and what that was made of, where more is in it than the unit's own."""

    attempt_id: str
    lease_id: str
    job_id: str
    node_id: str
    gpu_ids: Sequence[int]
    price_microusd_per_unit_hour: int
    components: Components | None = None


class Standing(Protocol):
    """What a grant rests on of a locked node."""

    id: str
    revision: int
    state: str


_LOCK = "SELECT id, revision, state FROM nodes WHERE id = ANY(cast(:nodes AS text[])) ORDER BY id FOR NO KEY UPDATE"
_WAIT, _SKIP = Statement(_LOCK), Statement(f"{_LOCK} SKIP LOCKED")
_TABLES = frozenset(table.__tablename__ for table in (Attempt, Job, Lease, LeaseGpu, Node))
_GRANT = f"""
    given{{n}} AS MATERIALIZED (
        SELECT told.attempt_id, told.lease_id, told.price, job.id AS job_id, job.attempts_placed + 1 AS number,
            job.unit, job.quantity_milli, job.cpu_milli, job.memory_bytes, job.disk_bytes,
            cast(:now{{n}} AS timestamptz) + job.funded_seconds * interval '1 second' AS held_until,
            node.id AS node_id, node.provider_id, node.simulated
        FROM unnest(cast(:attempts{{n}} AS text[]), cast(:leases{{n}} AS text[]), cast(:jobs{{n}} AS text[]),
            cast(:nodes{{n}} AS text[]), cast(:prices{{n}} AS bigint[]))
            AS told(attempt_id, lease_id, job_id, node_id, price)
        JOIN jobs AS job ON job.id = told.job_id JOIN nodes AS node ON node.id = told.node_id
    ), begun{{n}} AS (
        INSERT INTO attempts (id, job_id, number, node_id, provider_id, price_microusd_per_unit_hour, state, reason,
            detail, log_end, placed_at)
        SELECT attempt_id, job_id, number, node_id, provider_id, price, '{AttemptState.PLACED.value}',
            '{Reason.PLACED.value}', '', 0, cast(:now{{n}} AS timestamptz)
        FROM given{{n}}
    ), granted{{n}} AS (
        INSERT INTO leases (id, attempt_id, job_id, node_id, cpu_milli, memory_bytes, disk_bytes, unit, quantity_milli,
            price_microusd_per_unit_hour, simulated, granted_at, held_until)
        SELECT lease_id, attempt_id, job_id, node_id, cpu_milli, memory_bytes, disk_bytes, unit, quantity_milli, price,
            simulated, cast(:now{{n}} AS timestamptz), held_until
        FROM given{{n}}
    ), held{{n}} AS (
        INSERT INTO lease_gpus (lease_id, gpu_id, slice)
        SELECT lease_id, gpu_id, '{WHOLE_GPU_TEXT}'
        FROM unnest(cast(:holders{{n}} AS text[]), cast(:gpus{{n}} AS bigint[])) AS held(lease_id, gpu_id)
    ), drawn{{n}} AS (
        UPDATE nodes SET cpu_free_milli = cpu_free_milli - less.cpu,
            memory_free_bytes = memory_free_bytes - less.memory,
            disk_free_bytes = disk_free_bytes - less.disk, desired_version = desired_version + 1
        FROM (
            SELECT node_id, sum(cpu_milli) AS cpu, sum(memory_bytes) AS memory, sum(disk_bytes) AS disk
            FROM given{{n}} GROUP BY node_id
        ) AS less
        WHERE nodes.id = less.node_id
    ), placed{{n}} AS (
        UPDATE jobs SET state = '{advance(JobState.QUEUED, JobState.PLACED).value}', reason = '{Reason.PLACED.value}',
            detail = '', attempts_placed = given.number, funded_seconds = NULL, version = version + 1
        FROM given{{n}} AS given WHERE jobs.id = given.job_id
    )
"""  # noqa: S608 - made of constants


def lock_nodes(session: Session, node_ids: Collection[str], *, wait: bool = True) -> dict[str, Standing]:
    """What grants rest on of these nodes, as they are now, locked in the order of their ids. Without waiting, those
    that somebody else has locked are left out."""
    found: list[Any] = (_WAIT if wait else _SKIP).rows(session, {"nodes": sorted(node_ids)})
    return {node.id: node for node in found}


def write_grants(session: Session, grants: Sequence[Grant], now: datetime) -> None:
    """Place locked queued jobs on locked nodes from `now` on, and tell the nodes' agents. The database raises
    IntegrityError for a GPU that is held already and for a counter below zero: a caller that judged by the locked rows
    never sees either.
    """
    if not grants:
        return
    values = {
        "now{n}": now,
        "attempts{n}": [one.attempt_id for one in grants],
        "leases{n}": [one.lease_id for one in grants],
        "jobs{n}": [one.job_id for one in grants],
        "nodes{n}": [one.node_id for one in grants],
        "prices{n}": [one.price_microusd_per_unit_hour for one in grants],
        "holders{n}": [one.lease_id for one in grants for _ in one.gpu_ids],
        "gpus{n}": [gpu_id for one in grants for gpu_id in one.gpu_ids],
    }
    write(session, Write(_TABLES, _GRANT, values))
    made = [{"attempt_id": one.attempt_id, **one.components.model_dump()} for one in grants if one.components]
    insert_rows(session, LeaseComponents, made)
    after_commit(session, *{f"node:{one.node_id}" for one in grants})
