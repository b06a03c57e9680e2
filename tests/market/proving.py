"""An honest prover in numpy and few lines, for the tests of the protocol."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from market.proof import arithmetic, philox
from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, Challenge, draw, memory_seed, next_seed
from market.proof.commitment import Committed, commit
from market.proof.verification import Answer, Drawn

Product = Callable[[int, philox.Entries, philox.Entries], arithmetic.Sums]


def challenge(nonce: int = 1, size: int = 64, rounds: int = 6, kept: int = 2, device: str = "GPU-1") -> Challenge:
    return Challenge("prf_1", "node_1", device, nonce.to_bytes(32, "big"), size, rounds, kept)


def honest(_: int, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
    return arithmetic.product(left, right)


@dataclass
class Prover:
    """Runs the chain, and keeps everything. product: how round t is computed."""

    asked: Challenge
    product: Product = honest

    def __post_init__(self) -> None:
        asked, seed = self.asked, self.asked.first_seed
        right = philox.matrix(asked.matrix_seed, asked.size)
        self.seeds: list[bytes] = []
        self.sums: list[arithmetic.Sums] = []
        self.rounds: list[Committed] = []
        for t in range(asked.rounds):
            sums = self.product(t, philox.matrix(seed, asked.size), right)
            self.seeds.append(seed)
            self.sums.append(sums)
            self.rounds.append(commit(arithmetic.fingerprints(sums, arithmetic.column_keys(seed, asked.size))))
            seed = next_seed(seed, self.rounds[-1].root)

    @property
    def roots(self) -> list[bytes]:
        return [of_round.root for of_round in self.rounds]

    def answer(self, drawn: Drawn) -> Answer:
        asked = self.asked
        kept = {}
        for t in range(asked.rounds - asked.kept, asked.rounds):
            keys = arithmetic.column_keys(memory_seed(drawn.memory_nonce, self.seeds[t]), asked.size)
            kept[t] = commit(arithmetic.fingerprints(self.sums[t], keys))
        return Answer(
            roots=self.roots,
            openings=[self.rounds[t].open(row) for t, row in drawn.pairs],
            memory_roots=[tree.root for tree in kept.values()],
            memory_openings=[kept[t].open(row) for t, row in drawn.memory_pairs],
        )


def drawn(asked: Challenge, secret: int = 7, pairs: int = OPENED_PAIRS, memory_pairs: int = MEMORY_PAIRS) -> Drawn:
    """What a verifier would draw from that secret."""
    size, rounds, first = asked.size, asked.rounds, asked.rounds - asked.kept
    key = np.uint64(secret).tobytes() * 4
    memory = draw(key[::-1], memory_pairs, size, first, rounds) if asked.kept else []
    return Drawn(draw(key, pairs, size, 0, rounds), key, memory)


def changed(answer: Answer, **what: object) -> Answer:
    return replace(answer, **what)  # type: ignore[arg-type]
