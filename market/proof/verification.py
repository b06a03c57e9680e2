"""The verifier's side: the drawn rows are made, multiplied with B in one product and compared with what was shown.

Whoever computed a fraction f of all rows, in whatever pattern, passes with f²⁵⁶.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from market.proof import arithmetic, philox
from market.proof.challenge import Challenge, Pair, memory_seed, seed_chain
from market.proof.commitment import Opening, opened


class Fault(StrEnum):
    """What an answer's arithmetic can be refused for."""

    SHAPE = "shape"
    """Not as many roots or openings as were asked for."""
    PATH = "path"
    """An opening does not lead to what was committed to."""
    ROW = "row"
    """A row's fingerprint is not that of the product."""
    MEMORY_PATH = "memory_path"
    MEMORY_ROW = "memory_row"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prover committed to, and what it showed of it.

    roots: one for each round. memory_roots: one for each kept round, made after the memory nonce was told.
    """

    roots: Sequence[bytes]
    openings: Sequence[Opening]
    memory_roots: Sequence[bytes] = ()
    memory_openings: Sequence[Opening] = ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is looked at: pairs of the whole chain, and of the kept rounds under the memory nonce."""

    pairs: Sequence[Pair]
    memory_nonce: bytes
    memory_pairs: Sequence[Pair] = ()


def verify(challenge: Challenge, drawn: Drawn, answer: Answer) -> dict[Fault, int]:
    """How many of the drawn rows are wrong in each way; empty for an honest answer."""
    if not _fits(challenge, drawn, answer):
        return {Fault.SHAPE: 1}
    faults: dict[Fault, int] = {}
    told = _told(faults, Fault.PATH, challenge, drawn.pairs, answer.openings, answer.roots)
    kept = {challenge.rounds - challenge.kept + place: root for place, root in enumerate(answer.memory_roots)}
    remembered = _told(faults, Fault.MEMORY_PATH, challenge, drawn.memory_pairs, answer.memory_openings, kept)
    if faults:
        return faults  # What does not lead to the commitment needs no product.
    seeds = seed_chain(challenge.first_seed, answer.roots)
    wanted = sorted({*told, *remembered})
    place = {pair: index for index, pair in enumerate(wanted)}
    sums = arithmetic.product_with_generated(_rows(challenge, wanted, seeds), challenge.matrix_seed, challenge.size)
    memory_seeds = {t: memory_seed(drawn.memory_nonce, seeds[t]) for t in kept}
    for fault, shown, keys in (
        (Fault.ROW, told, dict(enumerate(seeds))),
        (Fault.MEMORY_ROW, remembered, memory_seeds),
    ):
        wrong = sum(shown[pair] != value for pair, value in _fingerprints(challenge, sums, place, shown, keys).items())
        if wrong:
            faults[fault] = wrong
    return faults


def _fits(challenge: Challenge, drawn: Drawn, answer: Answer) -> bool:
    return (
        len(answer.roots) == challenge.rounds
        and len(answer.openings) == len(drawn.pairs)
        and len(answer.memory_roots) == challenge.kept
        and len(answer.memory_openings) == len(drawn.memory_pairs)
    )


def _told(
    faults: dict[Fault, int],
    fault: Fault,
    challenge: Challenge,
    pairs: Sequence[Pair],
    openings: Sequence[Opening],
    roots: Sequence[bytes] | Mapping[int, bytes],
) -> dict[Pair, int]:
    """The fingerprint shown for each pair; what leads nowhere is counted as a fault."""
    told: dict[Pair, int] = {}
    for (t, row), opening in zip(pairs, openings, strict=True):
        value = opened(roots[t], challenge.size, row, opening)
        if value is None:
            faults[fault] = faults.get(fault, 0) + 1
        else:
            told[t, row] = value
    return told


def _rows(challenge: Challenge, pairs: Sequence[Pair], seeds: Sequence[bytes]) -> philox.Entries:
    """The rows of the A_t that the pairs name, sorted by round."""
    found = np.empty((len(pairs), challenge.size), dtype=np.int8)
    rounds = np.array([t for t, _ in pairs])
    for t in np.unique(rounds):
        at = np.flatnonzero(rounds == t)
        found[at] = philox.rows(seeds[int(t)], challenge.size, [pairs[int(index)][1] for index in at])
    return found


def _fingerprints(
    challenge: Challenge,
    sums: arithmetic.Sums,
    place: Mapping[Pair, int],
    pairs: Mapping[Pair, int],
    seeds: Mapping[int, bytes],
) -> dict[Pair, int]:
    """What the fingerprints of these rows are, under the keys of each round."""
    found: dict[Pair, int] = {}
    for t in {t for t, _ in pairs}:
        of_round = [pair for pair in pairs if pair[0] == t]
        keys = arithmetic.column_keys(seeds[t], challenge.size)
        values = arithmetic.fingerprints(sums[[place[pair] for pair in of_round]], keys)
        found.update(zip(of_round, map(int, values), strict=True))
    return found
