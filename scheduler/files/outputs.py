"""Outputs: the files a job keeps, uploaded by its newest attempt while that lives, each checked to be there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.storage import Storage
from market.agent_api import OUTPUT_FILES_MAX, OUTPUTS_MAX_BYTES, OutputFile
from market.errors import FieldError, InvalidInput, NotFound, StaleAttempt, TooLarge
from scheduler.tables import Attempt, Job
from scheduler.tables import OutputFile as OutputRow
from scheduler.work.locked import lock_attempts


@dataclass(frozen=True, slots=True)
class OutputFileRecord:
    """key: where it lies in storage."""

    path: str
    size_bytes: int
    sha256: str
    key: str


def declare(
    session: Session, storage: Storage, node_id: str, attempt_id: str, files: Sequence[OutputFile], now: datetime
) -> list[tuple[str, str]]:
    """Note which files an attempt keeps; returns (path, storage key) of those storage does not have whole yet.

    Declaring again replaces what was declared of a path before. Raises NotFound for another node's attempt,
    StaleAttempt for one that is not its job's newest or has ended, InvalidInput and TooLarge.
    """
    _check(files)
    work = lock_attempts(session, [attempt_id]).get(attempt_id)
    if work is None or work.attempt.node_id != node_id:
        raise NotFound(f"this node has no attempt {attempt_id}")
    if work.attempt.state.final or work.attempt.number != work.job.attempts_placed:
        raise StaleAttempt(f"attempt {attempt_id} is over: its outputs are not taken any more")
    known = {row.path: row for row in session.scalars(select(OutputRow).where(OutputRow.attempt_id == attempt_id))}
    _check_total(known, files)
    missing: list[tuple[str, str]] = []
    for file in files:
        row = known.get(file.path)
        if row is None:
            row = OutputRow(attempt_id=attempt_id, path=file.path, size_bytes=-1, sha256="", declared_at=now)
            session.add(row)
        if (row.size_bytes, row.sha256) != (file.size_bytes, file.sha256):
            row.size_bytes, row.sha256, row.complete, row.declared_at = file.size_bytes, file.sha256, False, now
        row.complete = row.complete or storage.size(_key(row)) == row.size_bytes
        if not row.complete:
            missing.append((row.path, _key(row)))
    session.flush()
    return missing


def list_files(session: Session, job_id: str) -> list[OutputFileRecord]:
    """The files that the job's newest attempt has kept whole, by path."""
    rows = session.scalars(
        select(OutputRow)
        .join(Attempt, Attempt.id == OutputRow.attempt_id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Job.id == job_id, Attempt.number == Job.attempts_placed, OutputRow.complete)
        .order_by(OutputRow.path)
        .limit(OUTPUT_FILES_MAX)
        .execution_options(populate_existing=True)
    )
    return [OutputFileRecord(row.path, row.size_bytes, row.sha256, _key(row)) for row in rows]


def _key(row: OutputRow) -> str:
    """By content: a path that is declared anew with other bytes never passes off the old ones."""
    return f"outputs/{row.attempt_id}/{row.sha256}"


def _check(files: Sequence[OutputFile]) -> None:
    if len({file.path for file in files}) < len(files):
        raise InvalidInput("a path is declared twice: name every output once")
    faults = [
        FieldError(f"/files/{position}/path", f"{file.path!r} leaves the working directory; name a path inside it")
        for position, file in enumerate(files)
        if file.path.startswith("/") or ".." in file.path.split("/") or "\\" in file.path or "\0" in file.path
    ]
    if faults:
        raise InvalidInput(faults[0].detail, errors=faults)


def _check_total(known: dict[str, OutputRow], files: Sequence[OutputFile]) -> None:
    sizes = {path: row.size_bytes for path, row in known.items()} | {file.path: file.size_bytes for file in files}
    if len(sizes) > OUTPUT_FILES_MAX:
        raise TooLarge(f"a job keeps at most {OUTPUT_FILES_MAX} files: pack them into an archive")
    if sum(sizes.values()) > OUTPUTS_MAX_BYTES:
        raise TooLarge(f"a job keeps at most {OUTPUTS_MAX_BYTES} bytes of outputs, these have {sum(sizes.values())}")
