"""Cheats that compute less than they are asked: rows, rounds, or nothing at all."""

from benchmarks.proof_cheats.honest import Honest
from benchmarks.proof_cheats.stage import Silicon, Stage, VirtualClock
from market.proof import arithmetic, philox
from market.proof.challenge import Challenge
from market.proof.commitment import Opening
from market.proof.verification import Drawn


class Echo(Honest):
    """Sends back what it was sent: the nonce as every root, and zeros for every leaf."""

    work = 0.9

    def round(self, t: int, seed: bytes, right: philox.Entries) -> arithmetic.Sums:
        return self.nothing()

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]:
        super().compute(asked, full, clock)
        return [asked.nonce] * asked.rounds


class HalfTheRows(Honest):
    """Computes the first half of each round's rows, and takes the time of all."""

    share = 0.5

    def round(self, t: int, seed: bytes, right: philox.Entries) -> arithmetic.Sums:
        done = round(self.share * self.asked.size)
        sums = self.nothing()
        sums[:done] = self.product(philox.rows(seed, self.asked.size, range(done)), right)
        return sums


class NineTenthsOfTheRows(HalfTheRows):
    share = 0.9


class RoundsSkipped(Honest):
    """Every other round is garbage, properly chained."""

    def round(self, t: int, seed: bytes, right: philox.Entries) -> arithmetic.Sums:
        return self.nothing() if t % 2 else super().round(t, seed, right)


class ComputedAfterwards(Honest):
    """Commits to garbage, and computes the rows once it knows which are drawn."""

    def show(self, drawn: Drawn) -> tuple[list[Opening], list[Opening]]:
        right = self.second_matrix()
        shown = []
        for t, row in drawn.pairs:
            keys = arithmetic.column_keys(self.seeds[t], self.asked.size)
            exact = arithmetic.product(philox.rows(self.seeds[t], self.asked.size, [row]), right)
            value = arithmetic.fingerprints(exact, keys).astype("<u8").tobytes()
            leaf = bytearray(self.trees[t].open(row).leaf)
            leaf[8 * (row % 32) : 8 * (row % 32) + 8] = value
            shown.append(Opening(bytes(leaf), self.trees[t].open(row).siblings))
        return shown, super().show(drawn)[1]

    def round(self, t: int, seed: bytes, right: philox.Entries) -> arithmetic.Sums:
        return self.nothing()


class Precomputed(Honest):
    """Has the answer to a challenge ready that it guessed yesterday."""

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        super().__init__(stage, silicon)
        asked, full = stage.challenge()
        super().compute(asked, full, VirtualClock())

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]:
        clock.spend(self.compute_seconds())
        return [tree.root for tree in self.trees]


class Replay(Precomputed):
    """Repeats, byte by byte, an answer that once passed."""

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        super().__init__(stage, silicon)
        self.before = super().remember(stage.dice.randbytes(32), VirtualClock())

    def remember(self, memory_nonce: bytes, clock: VirtualClock) -> list[bytes]:
        clock.spend(self.memory_seconds())
        return self.before


class WrongSeed(Honest):
    """Takes seeds that do not wait for the round before, so that every round can run at once, or ahead of time."""

    def follow(self, t: int, seed: bytes, root: bytes) -> bytes:
        return super().follow(t, seed, bytes(32))


class AnotherDevicesAnswer(Honest):
    """Solves the same nonce for the GPU beside it, and hands that in for this one."""

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]:
        beside = Challenge(
            asked.challenge_id, asked.node_id, "GPU-2", asked.nonce, asked.size, asked.rounds, asked.kept
        )
        return super().compute(beside, full, clock)
