"""The protocol: an honest chain passes, a chain with a fraction f of its rows passes with f to the number of rows."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proving import Prover, challenge, changed, drawn, honest

from market.proof import arithmetic, philox
from market.proof.challenge import SIZE_MAX, Challenge, draw, next_seed, seed_chain
from market.proof.commitment import Opening, commit, opened
from market.proof.verification import Fault, verify


@settings(max_examples=15, deadline=None)
@given(
    nonce=st.integers(0, 2**256 - 1),
    size=st.sampled_from([32, 64, 96, 160]),
    rounds=st.integers(1, 6),
    data=st.data(),
)
def test_an_honest_chain_passes_at_every_size(nonce: int, size: int, rounds: int, data: st.DataObject) -> None:
    asked = challenge(nonce, size, rounds, data.draw(st.integers(0, rounds)))
    looked_at = drawn(asked, data.draw(st.integers(0, 2**64 - 1)))
    assert verify(asked, looked_at, Prover(asked).answer(looked_at)) == {}


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("looked_at", [4, 16])
def test_a_fraction_of_the_rows_passes_with_that_fraction_to_the_power_of_the_rows_looked_at(
    fraction: float, looked_at: int
) -> None:
    """The law f^256, where f^k is large enough to be counted: in blocks, whole rounds, or scattered, it is the same."""
    trials, asked = 400, challenge(size=64, rounds=10, kept=0)
    every = [(t, row) for t in range(asked.rounds) for row in range(asked.size)]
    rng = np.random.default_rng(5)
    patterns = {
        "first rounds": set(every[: round(fraction * len(every))]),
        "first rows of each": {(t, row) for t, row in every if row < round(fraction * asked.size)},
        "scattered": {every[place] for place in rng.permutation(len(every))[: round(fraction * len(every))]},
    }
    for name, done in patterns.items():
        share = len(done) / len(every)
        passed = sum(
            done.issuperset(draw(rng.bytes(32), looked_at, asked.size, 0, asked.rounds)) for _ in range(trials)
        )
        expected = share**looked_at
        spread = math.sqrt(expected * (1 - expected) / trials)
        assert abs(passed / trials - expected) <= 4.5 * spread + 1 / trials, (name, passed / trials, expected)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_verifier_counts_what_the_law_counts(share: float) -> None:
    """The same with real matrices: exactly those drawn rows are wrong that were not computed."""
    asked = challenge(size=64, rounds=4, kept=0)
    done = round(share * asked.size)

    def partly(_: int, left: philox.Entries, right: philox.Entries) -> arithmetic.Sums:
        sums = np.zeros_like(left, dtype=np.float32)
        sums[:done] = arithmetic.product(left[:done], right)
        return sums

    cheat = Prover(asked, partly)
    for secret in range(6):
        looked_at = drawn(asked, secret, pairs=20)
        missing = len({pair for pair in looked_at.pairs if pair[1] >= done})
        expected = {Fault.ROW: missing} if missing else {}
        assert verify(asked, looked_at, cheat.answer(looked_at)) == expected


def test_pairs_are_drawn_over_every_round_and_row_alike() -> None:
    pairs = draw(bytes(32), 40_000, 32, 3, 13)
    counts = np.zeros((13, 32), dtype=int)
    for t, row in pairs:
        counts[t, row] += 1
    assert counts[:3].sum() == 0
    expected = 40_000 / 320
    assert ((counts[3:] - expected) ** 2 / expected).sum() < 420, "chi square with 319 degrees of freedom"
    assert draw(bytes(32), 50, 32, 0, 4) != draw(b"\x01" * 32, 50, 32, 0, 4)


def test_a_rounds_matrix_is_not_known_before_the_round_before_it_is_done() -> None:
    asked = challenge()
    roots = [bytes([t]) * 32 for t in range(asked.rounds)]
    seeds = seed_chain(asked.first_seed, roots)
    assert seeds[3] == next_seed(seeds[2], roots[2])
    other = seed_chain(asked.first_seed, [roots[0], b"\xff" * 32, *roots[2:]])
    assert other[:2] == seeds[:2] and not set(other[2:]) & set(seeds)


@pytest.mark.parametrize("field", ["challenge_id", "node_id", "device", "nonce"])
def test_nothing_of_another_challenge_node_or_device_fits(field: str) -> None:
    asked = challenge()
    other = replace(asked, **{field: b"\x02" * 32 if field == "nonce" else "another"})
    looked_at = drawn(asked)
    assert set(verify(other, looked_at, Prover(asked).answer(looked_at))) == {Fault.ROW, Fault.MEMORY_ROW}
    assert {other.matrix_seed, other.first_seed}.isdisjoint({asked.matrix_seed, asked.first_seed})


def test_the_memory_check_wants_the_second_nonce() -> None:
    """Fingerprints under another nonce, made ahead of it, are worth nothing; nor are those of the chain itself."""
    asked, other = challenge(), drawn(challenge(), secret=8)
    prover, looked_at = Prover(asked), drawn(asked)
    early = prover.answer(replace(looked_at, memory_nonce=other.memory_nonce))
    assert set(verify(asked, looked_at, early)) == {Fault.MEMORY_ROW}
    again = changed(
        early,
        memory_roots=prover.roots[-asked.kept :],
        memory_openings=[prover.rounds[t].open(row) for t, row in looked_at.memory_pairs],
    )
    assert set(verify(asked, looked_at, again)) == {Fault.MEMORY_ROW}


def test_what_was_not_kept_cannot_be_fingerprinted_afterwards() -> None:
    asked = challenge(kept=4)
    prover, looked_at = Prover(asked), drawn(asked)
    prover.sums[-1] = np.zeros_like(prover.sums[-1])
    assert set(verify(asked, looked_at, prover.answer(looked_at))) == {Fault.MEMORY_ROW}


def test_an_answer_of_another_shape_is_refused_without_any_product(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = challenge()
    looked_at = drawn(asked)
    answer = Prover(asked).answer(looked_at)
    monkeypatch.setattr(arithmetic, "product_with_generated", None)
    for broken in (
        changed(answer, roots=answer.roots[:-1]),
        changed(answer, roots=[*answer.roots, b"\x00" * 32]),
        changed(answer, openings=answer.openings[:-1]),
        changed(answer, memory_roots=[]),
        changed(answer, memory_openings=[]),
    ):
        assert verify(asked, looked_at, broken) == {Fault.SHAPE: 1}


def test_rows_computed_after_the_draw_do_not_lead_to_the_commitment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = challenge(kept=0)
    looked_at = drawn(asked)
    promised = Prover(asked, lambda *_: np.zeros((asked.size, asked.size), dtype=np.float32))
    late = replace(promised, product=honest)
    late.rounds = [
        commit(
            arithmetic.fingerprints(
                honest(t, philox.matrix(seed, asked.size), philox.matrix(asked.matrix_seed, asked.size)),
                arithmetic.column_keys(seed, asked.size),
            )
        )
        for t, seed in enumerate(promised.seeds)
    ]
    answer = changed(late.answer(looked_at), roots=promised.roots)
    monkeypatch.setattr(arithmetic, "product_with_generated", None)
    assert verify(asked, looked_at, answer) == {Fault.PATH: len(looked_at.pairs)}


@settings(max_examples=30, deadline=None)
@given(rows=st.sampled_from([32, 64, 96, 224]), data=st.data())
def test_an_opening_shows_its_row_and_nothing_else(rows: int, data: st.DataObject) -> None:
    values = np.arange(rows, dtype=np.uint64) * np.uint64(3) + np.uint64(1)
    tree = commit(values)
    row = data.draw(st.integers(0, rows - 1))
    opening = tree.open(row)
    assert opened(tree.root, rows, row, opening) == 3 * row + 1
    changed_leaf = bytes([opening.leaf[0] ^ 1]) + opening.leaf[1:]
    elsewhere = (row + 32) % rows
    for broken in (
        Opening(changed_leaf, opening.siblings),
        Opening(opening.leaf[:-1], opening.siblings),
        Opening(opening.leaf, (*opening.siblings, b"\x00" * 32)),
    ):
        assert opened(tree.root, rows, row, broken) is None
    if rows > 32:
        assert opened(tree.root, rows, elsewhere, opening) is None


def test_a_challenge_that_could_not_be_exact_is_not_made() -> None:
    good = challenge(size=SIZE_MAX, rounds=1, kept=1)
    assert good.kept_bytes == 4 * SIZE_MAX**2
    for wrong in ({"size": SIZE_MAX + 32}, {"size": 40}, {"rounds": 0}, {"kept": 2}, {"nonce": b""}):
        with pytest.raises(ValueError):
            replace(good, **wrong)
    assert isinstance(good, Challenge)
