"""Orders: what the node that holds an attempt needs to start it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.errors import NotFound
from market.specs import JobSpec, stored_spec
from scheduler.work.endings import remaining_ms

# Of these attempts those that live on these nodes, pair by pair.
_STARTS = Statement(
    """
    SELECT attempt.id, attempt.number, job.id AS job_id, job.organization_id, job.spec, job.workdir_sha256, job.trace,
        job.max_duration_seconds, job.used_ms
    FROM unnest(cast(:attempts AS text[]), cast(:nodes AS text[])) AS asked (attempt_id, node_id)
    JOIN attempts AS attempt ON attempt.id = asked.attempt_id AND attempt.node_id = asked.node_id
    JOIN jobs AS job ON job.id = attempt.job_id
    WHERE attempt.state IN ('placed', 'running')
    """
)


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """run_for_seconds: what is left of the job's longest duration, counted by the agent from the command's start."""

    attempt_id: str
    job_id: str
    organization_id: str
    spec: JobSpec
    workdir_sha256: str | None
    attempt_number: int
    run_for_seconds: int
    trace: str | None


def starts(session: Session, attempts_by_node: Mapping[str, Sequence[str]]) -> list[AttemptStart]:
    """Of the attempts that each node asks about: those that it holds and that live."""
    asked = [(attempt_id, node_id) for node_id, attempts in attempts_by_node.items() for attempt_id in attempts]
    if not asked:
        return []
    attempts, nodes = zip(*asked, strict=True)
    return [_start(row) for row in _STARTS.rows(session, {"attempts": list(attempts), "nodes": list(nodes)})]


def start(session: Session, node_id: str, attempt_id: str) -> AttemptStart:
    """Only for the node that holds the attempt, and only while it lives; raises NotFound otherwise."""
    found = starts(session, {node_id: [attempt_id]})
    if not found:
        raise NotFound(f"this node holds no live attempt {attempt_id}")
    return found[0]


def _start(row: Any) -> AttemptStart:
    return AttemptStart(
        attempt_id=row.id,
        job_id=row.job_id,
        organization_id=row.organization_id,
        spec=stored_spec(row.spec),
        workdir_sha256=row.workdir_sha256,
        attempt_number=row.number,
        run_for_seconds=max(1, remaining_ms(row) // 1000),
        trace=row.trace,
    )
