"""One challenge on a virtual clock: a prover, the real verifier, the real judgement.

The matrices are small, for a CPU; the time they would take is that of a challenge of full size, so that the maths and
the timing are those of the market.
"""

import math
import random
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, Challenge, draw
from market.proof.commitment import Opening
from market.proof.verification import Answer, Drawn, verify
from scheduler.proofs.bands import Band, Rate, band_of, memory_seconds_max
from scheduler.proofs.cards import Card, card_of
from scheduler.proofs.judgement import Evidence, Verdict, judge

SIZE, ROUNDS, KEPT = 64, 8, 2
FULL_SIZE, FULL_ROUNDS, FULL_KEPT = 16_384, 160, 67
"""72 GB kept on an H100, and a chain of about a second."""
MODEL = "NVIDIA H100 80GB HBM3"
MEASURED_SHARE = 0.7
WAY_SECONDS = 0.05


@dataclass
class VirtualClock:
    """Seconds that pass only by being spent."""

    now: float = 0.0

    def spend(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Silicon:
    """What a prover really has. noise: the spread of the logarithm of its rate."""

    operations_per_second: float
    memory_bytes_per_second: float
    noise: float = 0.05

    def slowed(self, by: float) -> "Silicon":
        return replace(self, operations_per_second=self.operations_per_second / by)


def measured(card: Card, noise: float = 0.05) -> Silicon:
    """A real card of that model: it reaches a good part of its data sheet."""
    return Silicon(MEASURED_SHARE * card.operations_per_second, 0.85 * card.memory_bytes_per_second, noise)


class Prover(Protocol):
    """Its four turns. Whatever takes time is spent on the clock."""

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]: ...

    def remember(self, memory_nonce: bytes, clock: VirtualClock) -> list[bytes]: ...

    def show(self, drawn: Drawn) -> tuple[list[Opening], list[Opening]]: ...


@dataclass
class Stage:
    """Runs trials, seeded. model: what the device claims to be. verifier_seconds: CPU time of the verifier so far."""

    seed: int
    model: str = MODEL
    verifier_seconds: float = 0.0
    trials: int = 0
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        card = card_of(self.model)
        assert card is not None
        self.card = card

    def challenge(self) -> tuple[Challenge, Challenge]:
        """The one that is computed, and the one whose time is taken."""
        self.trials += 1
        nonce = self.dice.randbytes(32)
        small = Challenge(f"prf_{self.trials}", "node_1", "GPU-1", nonce, SIZE, ROUNDS, KEPT)
        return small, replace(small, size=FULL_SIZE, rounds=FULL_ROUNDS, kept=FULL_KEPT)

    @property
    def band(self) -> Band:
        rate = Rate(self.card.power_watts, MEASURED_SHARE * self.card.operations_per_second)
        return band_of(self.card, [rate], self.card.power_watts)

    def run(self, prover: Prover) -> Verdict:
        """One challenge from issue to verdict."""
        asked, full = self.challenge()
        clock = VirtualClock()
        clock.spend(WAY_SECONDS)
        roots = prover.compute(asked, full, clock)
        clock.spend(WAY_SECONDS)
        committed_at = clock.now
        # Only now is anything drawn.
        secret, memory_nonce = self.dice.randbytes(32), self.dice.randbytes(32)
        pairs = draw(secret, OPENED_PAIRS, asked.size, 0, asked.rounds)
        clock.spend(WAY_SECONDS)
        memory_roots = prover.remember(memory_nonce, clock)
        memory_seconds = clock.now - committed_at
        memory_pairs = draw(self.dice.randbytes(32), MEMORY_PAIRS, asked.size, asked.rounds - asked.kept, asked.rounds)
        drawn = Drawn(pairs, memory_nonce, memory_pairs)
        openings, memory_openings = prover.show(drawn)
        began = time.process_time()
        faults = verify(asked, drawn, Answer(roots, openings, memory_roots, memory_openings))
        self.verifier_seconds += time.process_time() - began
        return judge(
            Evidence(
                faults=faults,
                operations=full.operations,
                seconds=committed_at,
                band=self.band,
                memory_kept=True,
                memory_seconds=memory_seconds,
                memory_seconds_max=memory_seconds_max(full, self.card),
            )
        )

    def silicon(self, noise: float = 0.05) -> Silicon:
        return measured(self.card, noise)

    def noisy(self, silicon: Silicon) -> float:
        """A factor on this trial's times."""
        return math.exp(self.dice.gauss(0, silicon.noise))
