"""Verifying: an answered challenge is judged and its device's standing changed. No transaction is open meanwhile."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.database import Database
from market.clock import Clock
from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, Challenge, draw
from market.proof.commitment import Opening
from market.proof.verification import Answer, Drawn, Fault, verify
from market.proof_api import ProofAnswer, ShownRow
from scheduler.proofs import benchmarks, doubts, mending, planning, rates, standings
from scheduler.proofs.bands import UNTIMED, Rate, band_of, memory_seconds_max
from scheduler.proofs.cards import card_of
from scheduler.proofs.judgement import Check, Evidence, Outcome, Verdict, judge
from scheduler.tables import Gpu, ProofChallenge, ProofStanding
from scheduler.tables.proofs import Cause, ChallengeState

log = structlog.get_logger(__name__)
PASSES_MAX = 64
CLAIM = timedelta(seconds=60)
"""Whoever claimed an answer and died gives it to the next after this."""
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: Verdict
    faults: Mapping[Fault, int]
    operations_per_second: int
    cpu_ms: int


def run(database: Database, clock: Clock, *, shadow: Collection[Check], cpu_seconds_max: float) -> int:
    """Judge what is answered, the oldest first, until the CPU time is spent; returns how many were judged.

    The last one is finished, so the time may be passed by one verification (two seconds at the usual size, seven at
    that of a memory check).
    """
    began, judged = time.process_time(), 0
    for _ in range(PASSES_MAX):
        if judged and time.process_time() - began >= cpu_seconds_max:
            break
        with database.transaction() as session:
            row = _claim(session, clock.now())
            if row is None:
                break
            known = rates.of_model(session, row.model) if row.model is not None else []
            disturbed = planning.was_leased(session, row, row.remembered_at or clock.now())
        found = judge_row(row, known, disturbed=disturbed, shadow=shadow)
        with database.transaction() as session:
            judged += _apply(session, row.id, found, disturbed=disturbed, shadow=shadow, now=clock.now())
    return judged


def _claim(session: Session, now: datetime) -> ProofChallenge | None:
    """The challenge that was answered first and nobody is judging, ours for a while."""
    row = session.scalar(
        select(ProofChallenge)
        .where(ProofChallenge.state == ChallengeState.ANSWERED, ProofChallenge.due_at <= now)
        .order_by(ProofChallenge.answered_at, ProofChallenge.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if row is not None:
        row.due_at = now + CLAIM
    return row


def judge_row(row: ProofChallenge, known: list[Rate], *, disturbed: bool, shadow: Collection[Check]) -> _Judged:
    """The verdict on an answered challenge, and what it cost."""
    began = time.process_time()
    challenge = _challenge(row)
    faults = _faults(row, challenge)
    card = card_of(row.model) if row.model is not None else None
    assert row.issued_at is not None and row.committed_at is not None and row.remembered_at is not None
    seconds = (row.committed_at - row.issued_at).total_seconds()
    evidence = Evidence(
        faults=faults,
        operations=challenge.operations,
        seconds=seconds,
        band=band_of(card, known, row.power_limit_watts) if row.model is not None else UNTIMED,
        memory_kept=challenge.kept > 0,
        memory_seconds=(row.remembered_at - row.committed_at).total_seconds(),
        memory_seconds_max=memory_seconds_max(challenge, card),
        disturbed=disturbed,
    )
    return _Judged(
        verdict=judge(evidence, shadow),
        faults=faults,
        operations_per_second=round(challenge.operations / seconds) if seconds > 0 else 0,
        cpu_ms=round((time.process_time() - began) * 1000),
    )


def _apply(
    session: Session, challenge_id: str, found: _Judged, *, disturbed: bool, shadow: Collection[Check], now: datetime
) -> int:
    """Write a verdict down; 0 when somebody else did meanwhile."""
    row = session.get_one(ProofChallenge, challenge_id, with_for_update=True, populate_existing=True)
    if row.state is not ChallengeState.ANSWERED:
        return 0
    verdict = found.verdict
    row.state, row.judged_at, row.outcome = ChallengeState.JUDGED, now, verdict.outcome.value
    row.findings = {check.value: finding.value for check, finding in verdict.findings.items()}
    row.faults = {fault.value: count for fault, count in found.faults.items()}
    row.shadow, row.disturbed = sorted(shadow), disturbed
    row.operations_per_second, row.verifier_cpu_ms = found.operations_per_second, found.cpu_ms
    answer, row.answer = ProofAnswer.model_validate_json(row.answer or b"{}"), None
    standing = standings.lock(session, row.node_id, row.device)
    standings.apply(session, standing, verdict, row.cause, now)
    if verdict.outcome is Outcome.PASSED:
        if row.cause is Cause.SHARED_UUID:
            standing.owners_cleared = max(standing.owners_cleared, _owners(session, row))
        assert row.issued_at is not None
        mending.release(session, row.node_id, row.device, row.issued_at)
        benchmarks.note(session, row, answer.speeds, now)
        _doubt(session, row, standing, answer.multiprocessors, now)
    log.info(
        "proof_judged", node_id=row.node_id, device=row.device, outcome=row.outcome, cpu_ms=found.cpu_ms, **row.faults
    )
    return 1


def _doubt(
    session: Session, row: ProofChallenge, standing: ProofStanding, multiprocessors: int | None, now: datetime
) -> None:
    gpu = session.scalar(select(Gpu).where(Gpu.node_id == row.node_id, Gpu.uuid == row.device))
    if gpu is None or row.model is None:
        return
    why = doubts.of_device(session, gpu, multiprocessors, now)
    if why:
        log.warning("gpu_contradicts_itself", node_id=row.node_id, device=row.device, why=why)
        standings.doubt(standing, "; ".join(why), now)


def _owners(session: Session, row: ProofChallenge) -> int:
    """How many were challenged for this UUID at that barrier."""
    beside = select(ProofChallenge.id).where(
        ProofChallenge.barrier_id == row.barrier_id, ProofChallenge.device == row.device
    )
    return len(session.scalars(beside).all())


def _challenge(row: ProofChallenge) -> Challenge:
    assert row.nonce is not None
    return Challenge(row.id, row.node_id, row.device, row.nonce, row.size, row.rounds, row.kept)


def _faults(row: ProofChallenge, challenge: Challenge) -> Mapping[Fault, int]:
    assert row.secret is not None and row.memory_nonce is not None and row.memory_secret is not None
    first = challenge.rounds - challenge.kept
    drawn = Drawn(
        pairs=draw(row.secret, OPENED_PAIRS, challenge.size, 0, challenge.rounds),
        memory_nonce=row.memory_nonce,
        memory_pairs=draw(row.memory_secret, MEMORY_PAIRS, challenge.size, first, challenge.rounds)
        if challenge.kept
        else (),
    )
    shown = ProofAnswer.model_validate_json(row.answer or b"{}")
    answer = Answer(
        roots=_hashes(row.roots),
        openings=[_opening(opening) for opening in shown.openings],
        memory_roots=_hashes(row.memory_roots),
        memory_openings=[_opening(opening) for opening in shown.memory_openings],
    )
    return verify(challenge, drawn, answer)


def _hashes(data: bytes | None) -> list[bytes]:
    data = data or b""
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def _opening(shown: ShownRow) -> Opening:
    return Opening(bytes.fromhex(shown.leaf), tuple(bytes.fromhex(sibling) for sibling in shown.siblings))
