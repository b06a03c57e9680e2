"""An agent's turns in a proof. Each is stamped with the portal's time, and repeating one changes nothing.

Whatever is drawn is drawn from the system's randomness in the turn that tells it: after what it opens was committed to.
"""

import secrets
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.clock import milliseconds_between
from market.errors import Conflict, NotFound
from market.proof.challenge import NONCE_BYTES
from market.proof_api import (
    WAITING_MAX,
    ProofAnswer,
    ProofCommit,
    ProofDraw,
    ProofIssue,
    ProofMemory,
    ProofMemoryDraw,
    WaitingProof,
)
from scheduler.tables import ProofChallenge
from scheduler.tables.proofs import OPEN, ChallengeState
from scheduler.waking import VERIFY_PROOFS

LATE_MAX = timedelta(seconds=5)
"""How long after its barrier a device may begin that is challenged together with others."""


class ProofOutOfTurn(Conflict):
    code = "proof_out_of_turn"


def waiting(session: Session, node_id: str, now: datetime) -> list[WaitingProof]:
    """What waits for the node, the next to start first."""
    rows = session.scalars(
        select(ProofChallenge)
        .where(ProofChallenge.node_id == node_id, ProofChallenge.state.in_(OPEN), ProofChallenge.due_at > now)
        .order_by(ProofChallenge.starts_at, ProofChallenge.id)
        .limit(WAITING_MAX)
    )
    return [
        WaitingProof(
            challenge_id=row.id, device=row.device, starts_in_ms=max(0, milliseconds_between(now, row.starts_at))
        )
        for row in rows
    ]


def begin(session: Session, node_id: str, challenge_id: str, now: datetime) -> ProofIssue:
    """Tell the nonce, from the barrier on. Raises NotFound, ProofOutOfTurn."""
    row = _turn(session, node_id, challenge_id, now, ChallengeState.WAITING, ChallengeState.ISSUED)
    if row.state is ChallengeState.WAITING and now >= row.starts_at:
        row.nonce = secrets.token_bytes(NONCE_BYTES)
        # Those who start together are timed from their barrier, however late one of them asks.
        row.issued_at = row.starts_at if row.together else now
        row.state = ChallengeState.ISSUED
    return ProofIssue(
        challenge_id=row.id,
        node_id=row.node_id,
        device=row.device,
        starts_in_ms=max(0, milliseconds_between(now, row.starts_at)),
        nonce=row.nonce.hex() if row.nonce is not None else None,
        size=row.size,
        rounds=row.rounds,
        kept=row.kept,
    )


def commit(session: Session, node_id: str, challenge_id: str, request: ProofCommit, now: datetime) -> ProofDraw:
    """Take the roots, stop the clock, and only then draw. Raises NotFound, ProofOutOfTurn."""
    row = _turn(session, node_id, challenge_id, now, ChallengeState.ISSUED, ChallengeState.COMMITTED)
    roots = bytes.fromhex("".join(request.roots))
    if row.state is ChallengeState.ISSUED:
        row.roots, row.committed_at = roots, now
        row.secret, row.memory_nonce = secrets.token_bytes(NONCE_BYTES), secrets.token_bytes(NONCE_BYTES)
        row.state = ChallengeState.COMMITTED
    elif row.roots != roots:
        raise _changed_mind()
    return ProofDraw(secret=_hex(row.secret), memory_nonce=_hex(row.memory_nonce))


def remember(session: Session, node_id: str, challenge_id: str, request: ProofMemory, now: datetime) -> ProofMemoryDraw:
    """Take the roots over what was kept, then draw of them. Raises NotFound, ProofOutOfTurn."""
    row = _turn(session, node_id, challenge_id, now, ChallengeState.COMMITTED, ChallengeState.REMEMBERED)
    roots = bytes.fromhex("".join(request.roots))
    if row.state is ChallengeState.COMMITTED:
        row.memory_roots, row.remembered_at = roots, now
        row.memory_secret = secrets.token_bytes(NONCE_BYTES)
        row.state = ChallengeState.REMEMBERED
    elif row.memory_roots != roots:
        raise _changed_mind()
    return ProofMemoryDraw(secret=_hex(row.memory_secret))


def network_key(session: Session, node_id: str, challenge_id: str, now: datetime) -> str:
    """The storage key of the object that the node times its network with. Raises NotFound, ProofOutOfTurn."""
    _turn(session, node_id, challenge_id, now, ChallengeState.REMEMBERED, ChallengeState.REMEMBERED)
    # One object for each node, written over: nothing piles up.
    return f"probes/{node_id}"


def answer(session: Session, node_id: str, challenge_id: str, request: ProofAnswer, now: datetime) -> None:
    """Take what was opened, and have it verified. Raises NotFound, ProofOutOfTurn."""
    row = _turn(session, node_id, challenge_id, now, ChallengeState.REMEMBERED, ChallengeState.ANSWERED)
    if row.state is ChallengeState.REMEMBERED:
        row.answer = request.model_dump_json().encode()
        row.engine, row.answered_at, row.due_at = request.engine, now, now
        row.state = ChallengeState.ANSWERED
        wake(session, VERIFY_PROOFS)


def _turn(
    session: Session, node_id: str, challenge_id: str, now: datetime, due: ChallengeState, taken: ChallengeState
) -> ProofChallenge:
    """The locked challenge, whose turn it is or whose turn was just taken."""
    row = session.scalar(
        select(ProofChallenge)
        .where(ProofChallenge.id == challenge_id, ProofChallenge.node_id == node_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound("there is no such challenge for this node")
    late = now > row.due_at or (row.together and row.state is ChallengeState.WAITING and now > row.starts_at + LATE_MAX)
    if row.state not in (due, taken) or (late and row.state is not taken):
        raise ProofOutOfTurn(f"this challenge is {row.state.value}{', and its time is over' if late else ''}")
    return row


def _changed_mind() -> ProofOutOfTurn:
    return ProofOutOfTurn("other roots were committed to before")


def _hex(value: bytes | None) -> str:
    assert value is not None, "drawn in the turn before"
    return value.hex()
