"""Every cheat, against the real verifier and the real judgement: all of it is refused, and the honest are not."""

import os

import pytest

from benchmarks.proof import CHEATS, DETECTED_MIN, FALSE_REJECT_MAX, HONEST, measure
from benchmarks.proof_cheats.honest import Honest
from benchmarks.proof_cheats.less_work import HalfTheRows
from benchmarks.proof_cheats.stage import Stage
from scheduler.proofs.judgement import Outcome, Standing, after

TRIALS = 1000 if os.environ.get("GRIDBAY_SOAK") else 50


def test_there_are_as_many_cheats_as_were_asked_for() -> None:
    assert len(CHEATS) >= 13


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_detected(name: str) -> None:
    assert measure(name, CHEATS[name], TRIALS, seed=11).refused >= DETECTED_MIN


@pytest.mark.parametrize("name", HONEST)
def test_the_honest_are_not_refused(name: str) -> None:
    assert measure(name, HONEST[name], TRIALS, seed=12).refused <= FALSE_REJECT_MAX


def test_who_leaves_out_one_row_in_a_hundred_saves_nothing_and_is_caught_by_the_tenth_challenge() -> None:
    """f^256: 0.984 of the rows (63 of 64) passes about once in sixty, and what is saved is a hundredth of the work."""

    class NearlyAll(HalfTheRows):
        share = 63 / 64

    assert measure("nearly all", lambda stage: stage.run(NearlyAll(stage)), TRIALS).refused > 0.85


@pytest.mark.parametrize("noise", [0.05, 0.10])
def test_with_more_noise_two_of_three_timings_are_looked_at(noise: float) -> None:
    """At 10 % one honest timing in five hundred is out of its band; two of three of them never are."""
    stage, standing = Stage(3), Standing()
    for _ in range(TRIALS):
        verdict = stage.run(Honest(stage, stage.silicon(noise)))
        standing = after(standing, verdict)
        assert standing.failures == 0
        assert verdict.outcome in (Outcome.PASSED, Outcome.SLOW)
