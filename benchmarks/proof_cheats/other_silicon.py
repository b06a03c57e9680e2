"""Cheats whose arithmetic is right and whose hardware is not what they say."""

from benchmarks.proof_cheats.honest import Honest
from benchmarks.proof_cheats.stage import Silicon, Stage, VirtualClock, measured
from market.proof.challenge import Challenge
from scheduler.proofs.bands import PCIE_BYTES_PER_SECOND
from scheduler.proofs.cards import card_of
from scheduler.proofs.judgement import BARRED, Outcome, ProofState, Standing, Verdict, after


class OneCardAsTwo(Honest):
    """One card behind several names: at one barrier each of them gets its share of it."""

    names = 2

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        super().__init__(stage, stage.silicon().slowed(self.names))


class OneCardAsEight(OneCardAsTwo):
    names = 8


class SlowerCard(Honest):
    """A card of 60 % of the rate."""

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        super().__init__(stage, stage.silicon().slowed(1 / 0.6))


class RenamedCard(Honest):
    """An RTX 4090 that its management library calls an H100."""

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        card = card_of("NVIDIA GeForce RTX 4090")
        assert card is not None
        super().__init__(stage, measured(card))


class LyingClock(SlowerCard):
    """A slower card whose host's clock runs slow: by it, everything was in time. Nobody asks it."""

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]:
        roots = super().compute(asked, full, clock)
        self.by_its_own_clock = full.operations / self.stage.silicon().operations_per_second
        return roots


class TooFast(Honest):
    """Several cards behind one name, which is then sold as the best there is."""

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        super().__init__(stage, stage.silicon().slowed(1 / 2))


class MemoryInRam(Honest):
    """A card of the right speed with a third of the memory: the rest lies in the host's."""

    in_ram = 2 / 3

    def memory_seconds(self) -> float:
        over_pcie = self.in_ram * self.full.kept_bytes / PCIE_BYTES_PER_SECOND
        return over_pcie + (1 - self.in_ram) * super().memory_seconds()


class MemoryComputedAgain(MemoryInRam):
    """The same card, which computes again what it could not keep."""

    def memory_seconds(self) -> float:
        again = self.in_ram * self.full.operations * self.full.kept / self.full.rounds
        return again / self.silicon.operations_per_second


def cloned_uuid(stage: Stage) -> Verdict:
    """Two owners of one UUID: both are frozen, and challenged at one barrier, where they share the one card.

    The verdict is the clone's last; it passes only if the clone is leased again.
    """
    clone = Standing(state=ProofState.FROZEN)
    for _ in range(3):
        stage.run(OneCardAsTwo(stage))
        verdict = stage.run(OneCardAsTwo(stage))
        clone = after(clone, verdict, together=True)
    return Verdict(Outcome.FAILED if clone.state in BARRED else Outcome.PASSED, verdict.findings)
