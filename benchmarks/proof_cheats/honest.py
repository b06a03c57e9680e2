"""The honest prover: it computes what it is asked, keeps it, and shows what is drawn."""

import numpy as np

from benchmarks.proof_cheats.stage import Silicon, Stage, VirtualClock
from market.proof import arithmetic, philox
from market.proof.challenge import Challenge, memory_seed, next_seed
from market.proof.commitment import Committed, Opening, commit
from market.proof.verification import Drawn


class Honest:
    """Its parts are what the cheats change. work: the share of the chain that it spends time on."""

    work = 1.0

    def __init__(self, stage: Stage, silicon: Silicon | None = None) -> None:
        self.stage = stage
        self.silicon = silicon or stage.silicon()

    def compute(self, asked: Challenge, full: Challenge, clock: VirtualClock) -> list[bytes]:
        self.asked, self.full = asked, full
        self.seeds: list[bytes] = []
        self.sums: list[arithmetic.Sums] = []
        self.trees: list[Committed] = []
        seed, right = asked.first_seed, self.second_matrix()
        for t in range(asked.rounds):
            sums = self.round(t, seed, right)
            keys = arithmetic.column_keys(seed, asked.size)
            self.seeds.append(seed)
            self.sums.append(sums)
            self.trees.append(commit(arithmetic.fingerprints(sums, keys)))
            seed = self.follow(t, seed, self.trees[-1].root)
        clock.spend(self.compute_seconds() * self.stage.noisy(self.silicon))
        return [tree.root for tree in self.trees]

    def remember(self, memory_nonce: bytes, clock: VirtualClock) -> list[bytes]:
        first = self.asked.rounds - self.asked.kept
        self.kept = {
            t: commit(
                arithmetic.fingerprints(
                    self.sums[t], arithmetic.column_keys(memory_seed(memory_nonce, self.seeds[t]), self.asked.size)
                )
            )
            for t in range(first, self.asked.rounds)
        }
        clock.spend(self.memory_seconds() * self.stage.noisy(self.silicon))
        return [tree.root for tree in self.kept.values()]

    def show(self, drawn: Drawn) -> tuple[list[Opening], list[Opening]]:
        return (
            [self.trees[t].open(row) for t, row in drawn.pairs],
            [self.kept[t].open(row) for t, row in drawn.memory_pairs],
        )

    # What a cheat does otherwise.

    def second_matrix(self) -> philox.Entries:
        return philox.matrix(self.asked.matrix_seed, self.asked.size)

    def round(self, t: int, seed: bytes, right: philox.Entries) -> arithmetic.Sums:
        return self.product(philox.matrix(seed, self.asked.size), right)

    def product(self, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
        return arithmetic.product(left, right)

    def follow(self, t: int, seed: bytes, root: bytes) -> bytes:
        return next_seed(seed, root)

    def compute_seconds(self) -> float:
        return self.work * self.full.operations / self.silicon.operations_per_second

    def memory_seconds(self) -> float:
        return self.full.kept_bytes / self.silicon.memory_bytes_per_second

    def nothing(self) -> arithmetic.Sums:
        return np.zeros((self.asked.size, self.asked.size), dtype=np.float32)
