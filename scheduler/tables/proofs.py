"""Proofs: each challenge, where each device stands, what cards were measured at, and what nodes were measured to do."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from scheduler.proofs.judgement import ProofState
from scheduler.tables.columns import word

CPU = "cpu"
"""The device of a node without GPUs."""
NODE = "node"
"""What is measured of the whole node, not of a device."""


class Cause(StrEnum):
    """Why a device is challenged."""

    JOIN = "join"
    IDLE = "idle"
    SUSPICION = "suspicion"
    MENDED = "mended"
    SHARED_UUID = "shared_uuid"
    APPEAL = "appeal"


class ChallengeState(StrEnum):
    WAITING = "waiting"
    ISSUED = "issued"
    COMMITTED = "committed"
    REMEMBERED = "remembered"
    ANSWERED = "answered"
    JUDGED = "judged"
    MISSED = "missed"


OPEN = (ChallengeState.WAITING, ChallengeState.ISSUED, ChallengeState.COMMITTED, ChallengeState.REMEMBERED)
"""The states in which it is the agent's turn."""
_LIVE = text("state IN ('waiting', 'issued', 'committed', 'remembered', 'answered')")


class ProofChallenge(Base):
    """One challenge to one device, from its planning to its verdict.

    barrier_id: shared with those that start at the same moment. starts_at: nothing is issued before. due_at: what is
    not answered by then is missed; once it is answered, when it may be taken to be judged. The four times are stamped
    by the portal. secret .. memory_secret: drawn when they are told, never before. shadow: the checks that only looked
    on. disturbed: the device was leased meanwhile.
    """

    __tablename__ = "proof_challenges"
    __table_args__ = (
        CheckConstraint("committed_at >= issued_at", "commit_after_issue"),
        Index("uq_proof_challenges_live", "node_id", "device", unique=True, postgresql_where=_LIVE),
        Index("ix_proof_challenges_answered_at", "answered_at", postgresql_where=text("state = 'answered'")),
        Index("ix_proof_challenges_device", "node_id", "device", "created_at"),
        Index("ix_proof_challenges_barrier_id", "barrier_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    device: Mapped[str]
    model: Mapped[str | None]
    power_limit_watts: Mapped[int | None]
    cause: Mapped[Cause] = mapped_column(word(Cause))
    barrier_id: Mapped[str]
    together: Mapped[bool] = mapped_column(default=False)
    state: Mapped[ChallengeState] = mapped_column(word(ChallengeState))
    size: Mapped[int]
    rounds: Mapped[int]
    kept: Mapped[int]
    nonce: Mapped[bytes | None] = mapped_column(LargeBinary)
    roots: Mapped[bytes | None] = mapped_column(LargeBinary)
    secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    memory_nonce: Mapped[bytes | None] = mapped_column(LargeBinary)
    memory_roots: Mapped[bytes | None] = mapped_column(LargeBinary)
    memory_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    answer: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    starts_at: Mapped[datetime] = mapped_column(Timestamp)
    due_at: Mapped[datetime] = mapped_column(Timestamp)
    issued_at: Mapped[datetime | None] = mapped_column(Timestamp)
    committed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    remembered_at: Mapped[datetime | None] = mapped_column(Timestamp)
    answered_at: Mapped[datetime | None] = mapped_column(Timestamp)
    judged_at: Mapped[datetime | None] = mapped_column(Timestamp)
    engine: Mapped[str] = mapped_column(default="")
    outcome: Mapped[str | None]
    findings: Mapped[dict[str, Any] | None]
    faults: Mapped[dict[str, Any] | None]
    shadow: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    operations_per_second: Mapped[int | None]
    verifier_cpu_ms: Mapped[int | None]
    disturbed: Mapped[bool | None]


class ProofStanding(Base):
    """Where a device of a node stands (scheduler/proofs/judgement.py: Standing).

    owners_cleared: how many nodes may claim this UUID, since so many proved it at one barrier. next_at: when it is
    challenged again, None: not before somebody asks. cause: of that challenge. audits: how many it had.
    """

    __tablename__ = "proof_standings"
    __table_args__ = (
        CheckConstraint("score BETWEEN 0 AND 1000", "score"),
        Index("ix_proof_standings_next_at", "next_at"),
    )

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[ProofState] = mapped_column(word(ProofState))
    failures: Mapped[int] = mapped_column(default=0)
    misses: Mapped[int] = mapped_column(default=0)
    passes: Mapped[int] = mapped_column(default=0)
    slow: Mapped[str] = mapped_column(default="")
    score: Mapped[int] = mapped_column(default=0)
    owners_cleared: Mapped[int] = mapped_column(default=1)
    audits: Mapped[int] = mapped_column(default=0)
    suspicion: Mapped[str] = mapped_column(default="")
    cause: Mapped[Cause] = mapped_column(word(Cause))
    next_at: Mapped[datetime | None] = mapped_column(Timestamp)
    proven_at: Mapped[datetime | None] = mapped_column(Timestamp)
    appealed_at: Mapped[datetime | None] = mapped_column(Timestamp)


class CardRate(Base):
    """What cards of a model were measured at under a power limit; providers: of how many it is the median."""

    __tablename__ = "card_rates"
    __table_args__ = (CheckConstraint("operations_per_second > 0", "rate"),)

    model: Mapped[str] = mapped_column(primary_key=True)
    power_limit_watts: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    operations_per_second: Mapped[int]
    providers: Mapped[int]
    measured_at: Mapped[datetime] = mapped_column(Timestamp)


class Benchmark(Base):
    """The newest figure of a kind (market.measured) for a device, or for its whole node (NODE).

    by_market: measured by the portal's clock, not the agent's word.
    """

    __tablename__ = "benchmarks"

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    device: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]
    by_market: Mapped[bool]
    challenge_id: Mapped[str] = mapped_column(ForeignKey("proof_challenges.id"))
    measured_at: Mapped[datetime] = mapped_column(Timestamp)
