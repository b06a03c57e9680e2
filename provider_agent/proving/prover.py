"""The chain that is asked for, on any engine: products, commitments, what is kept, and what is shown of it."""

from collections import deque
from typing import Any

import numpy as np

from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS, Challenge, Pair, draw, memory_seed, next_seed
from market.proof.commitment import Committed, Opening, commit
from provider_agent.proving.engines.port import Engine


class Chain:
    """One challenge. `run`, then `remember`, then `show`."""

    def __init__(self, engine: Engine, challenge: Challenge) -> None:
        self._engine, self._challenge = engine, challenge
        # Fingerprints are kept and trees are not: a tree is built again in less time than its memory is worth.
        self._rounds: list[bytes] = []
        self._memory: dict[int, bytes] = {}
        self._kept: deque[tuple[int, bytes, Any]] = deque(maxlen=max(1, challenge.kept))

    def run(self) -> list[bytes]:
        """The roots of all rounds."""
        challenge, engine = self._challenge, self._engine
        right = engine.factor(engine.matrix(challenge.matrix_seed, challenge.size))
        seed, roots = challenge.first_seed, []
        for number in range(challenge.rounds):
            sums = engine.product(engine.matrix(seed, challenge.size), right)
            tree = commit(engine.fingerprints(sums, seed))
            if challenge.kept:
                self._kept.append((number, seed, sums))
            self._rounds.append(tree.fingerprints)
            roots.append(tree.root)
            seed = next_seed(seed, tree.root)
        return roots

    def remember(self, memory_nonce: bytes) -> list[bytes]:
        """The roots over everything that was kept, which is let go of now."""
        roots = []
        # All of it is read before any of it is hashed: the reading is what is timed.
        read = [
            (number, self._engine.fingerprints(sums, memory_seed(memory_nonce, seed)))
            for number, seed, sums in self._kept
        ]
        for number, fingerprints in read:
            tree = commit(fingerprints)
            self._memory[number] = tree.fingerprints
            roots.append(tree.root)
        self._kept.clear()
        return roots

    def show(self, secret: bytes, memory_secret: bytes) -> tuple[list[Opening], list[Opening]]:
        """The openings of the pairs that these secrets draw: of the chain, and of what was kept."""
        challenge = self._challenge
        size, rounds, first = challenge.size, challenge.rounds, challenge.rounds - challenge.kept
        pairs = draw(secret, OPENED_PAIRS, size, 0, rounds)
        memory_pairs = draw(memory_secret, MEMORY_PAIRS, size, first, rounds) if challenge.kept else []
        return _opened(dict(enumerate(self._rounds)), pairs), _opened(self._memory, memory_pairs)


def _opened(fingerprints: dict[int, bytes], pairs: list[Pair]) -> list[Opening]:
    trees: dict[int, Committed] = {}
    for number in {number for number, _ in pairs}:
        trees[number] = commit(np.frombuffer(fingerprints[number], dtype="<u8").astype(np.uint64))
    return [trees[number].open(row) for number, row in pairs]
