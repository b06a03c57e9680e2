"""The market of the scheduler's tests, with agents that prove: honest ones, and ones that do not."""

from datetime import timedelta
from typing import Any

import market_world
from sqlalchemy import select

from infra.database import Database
from market.clock import ManualClock
from market.proof_api import NodeSpeeds, ProofAnswer, ProofCommit, ProofIssue, ProofMemory
from market.resources import GpuFacts
from provider_agent.proving.child import Turns
from provider_agent.proving.engines.numpy_engine import NumpyEngine
from scheduler.proofs import exchange, planning, sizing, verifying
from scheduler.proofs.judgement import Check
from scheduler.proofs.sizing import Extent
from scheduler.supply import nodes
from scheduler.tables import CardRate, Node, ProofChallenge, ProofStanding
from scheduler.tables.proofs import ChallengeState

CARD = "NVIDIA Card of the Tests"
"""In no table of ours, so that its rate may be that of the tests' small sizes."""
RATE, WATTS = 1_000_000, 700
SMALL = Extent(64, 6, 2)


class NotExact(NumpyEngine):
    """A device with fewer bits than are needed."""

    def product(self, left: Any, right: Any) -> Any:
        return super().product(left, right) + 1


class ProvingWorld:
    """Transactions of its own, a clock, and challenges of a size for tests. seconds: what a proof takes.
    speeds: what a node says it measured beside it."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database, self.clock = database, clock
        self.engines: dict[tuple[str, str], NumpyEngine] = {}
        self.seconds: dict[tuple[str, str], float] = {}
        self.speeds: dict[str, NodeSpeeds] = {}

    def node(self, *gpus: str, provider_id: str | None = None, uuids: list[str] | None = None, **have: Any) -> str:
        """A node with these GPU models, whose UUIDs are its own unless they are given."""
        with self.database.transaction() as session:
            world = market_world.World(session, self.clock)
            owner = provider_id or world.provider().id
            inventory = market_world.inventory(**have)
            node_key = market_world.NodeKey.generate()
            start = "SIM" if have.get("simulated") else "GPU"
            names = uuids or [f"{start}-{node_key.public_hex[:8]}-{index}" for index in range(len(gpus))]
            facts = [
                GpuFacts(
                    uuid=uuid,
                    index=index,
                    model=model,
                    memory_bytes=80 * 2**30,
                    power_limit_milliwatts=None if " MIG " in model else 1000 * WATTS,
                    mig_profile=model.partition(" MIG ")[2] or None,
                )
                for index, (uuid, model) in enumerate(zip(names, gpus, strict=True))
            ]
            request = market_world.join_request(inventory.model_copy(update={"gpus": facts}), key=node_key)
            return nodes.join(session, owner, request, self.clock.now()).id

    def provider(self, circuit_watts: int | None = None) -> str:
        with self.database.transaction() as session:
            row = market_world.World(session, self.clock).provider()
            row.circuit_watts = circuit_watts
            return row.id

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def plan(self) -> int:
        """Also a sign of life of every node."""
        with self.database.transaction() as session:
            ids = session.scalars(select(Node.id)).all()
            beats = [nodes.Heartbeat(node_id, "boot", "ready") for node_id in ids]
            nodes.heartbeat(session, beats, self.clock.now())
        with self.database.transaction() as session:
            return planning.plan(session, self.clock.now())

    def plan_when_due(self) -> int:
        """Devices settle for a while after their join; then they are challenged."""
        self.plan()
        self.pass_time(planning.SETTLE.total_seconds() + 1)
        return self.plan()

    def waiting(self) -> list[ProofChallenge]:
        with self.database.read() as session:
            open_ones = select(ProofChallenge).where(ProofChallenge.state == ChallengeState.WAITING)
            return list(session.scalars(open_ones.order_by(ProofChallenge.starts_at, ProofChallenge.id)))

    def standing(self, node_id: str, device: str = "cpu") -> ProofStanding:
        with self.database.read() as session:
            return session.get_one(ProofStanding, (node_id, device))

    def challenge(self, challenge_id: str) -> ProofChallenge:
        with self.database.read() as session:
            return session.get_one(ProofChallenge, challenge_id)

    def row(self, node_id: str) -> Node:
        with self.database.read() as session:
            return session.get_one(Node, node_id)

    def devices(self, node_id: str) -> list[str]:
        with self.database.read() as session:
            query = select(ProofStanding.device).where(ProofStanding.node_id == node_id)
            return sorted(session.scalars(query))

    def prove_all(self, *, verify: bool = True, absent: frozenset[str] = frozenset()) -> int:
        """Every agent answers what waits for it, barrier by barrier; those of absent nodes do not."""
        proven = 0
        for starts_at in sorted({row.starts_at for row in self.waiting()}):
            if starts_at > self.clock.now():
                self.pass_time((starts_at - self.clock.now()).total_seconds())
            for row in self.waiting():
                if row.starts_at == starts_at and row.node_id not in absent:
                    self.prove(row)
                    proven += 1
        if verify:
            self.verify()
        return proven

    def prove(self, row: ProofChallenge) -> None:
        """One device's turns, each in its transaction. Its seconds are the device's own; the clock is set back for
        the next one, for at a barrier they run at the same time."""
        began = self.clock.now()
        key = (row.node_id, row.device)
        issue = self.take(exchange.begin, row)
        assert isinstance(issue, ProofIssue) and issue.nonce is not None
        turns = Turns(self.engines.get(key, NumpyEngine()))
        fields = issue.model_dump(exclude={"starts_in_ms"})
        ran = turns.take({"turn": "run", **fields})
        self.pass_time(self.seconds.get(key, self.fair_seconds(row)))
        drawn = self.take(exchange.commit, row, ProofCommit(**ran))
        remembered = turns.take({"turn": "remember", "memory_nonce": drawn.memory_nonce})
        self.pass_time(0.01)
        memory = self.take(exchange.remember, row, ProofMemory(**remembered))
        shown = turns.take({"turn": "show", "secret": drawn.secret, "memory_secret": memory.secret})
        told = self.speeds.get(row.node_id, NodeSpeeds())
        self.take(exchange.answer, row, ProofAnswer(**shown, engine="numpy", speeds=told))
        self.clock._now = began

    def take(self, turn: Any, row: ProofChallenge, *request: Any) -> Any:
        with self.database.transaction() as session:
            return turn(session, row.node_id, row.id, *request, self.clock.now())

    def fair_seconds(self, row: ProofChallenge) -> float:
        """What a card takes that is what it says."""
        return 2 * row.size**3 * row.rounds / RATE if row.model is not None else 0.05

    def measured(self, model: str = CARD, rate: int = RATE) -> None:
        """Somebody has measured cards of that model."""
        with self.database.transaction() as session:
            session.add(
                CardRate(
                    model=model,
                    power_limit_watts=WATTS,
                    operations_per_second=rate,
                    providers=3,
                    measured_at=self.clock.now(),
                )
            )

    def verify(self, *shadow: Check, cpu_seconds_max: float = 60) -> int:
        """Once everybody's answer is there, by their own times."""
        self.pass_time(120)
        return verifying.run(self.database, self.clock, shadow=shadow, cpu_seconds_max=cpu_seconds_max)


def small_challenges(monkeypatch: Any) -> None:
    monkeypatch.setattr(sizing, "SMALL", SMALL)
    monkeypatch.setattr(sizing, "extent_for", lambda *_, with_memory: Extent(64, 6, 2 if with_memory else 0))
