"""Bands, verdicts and standings: what counts, what waits for a second look, what never bans."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.proof.challenge import Challenge
from market.proof.verification import Fault
from scheduler.proofs.bands import UNTIMED, Band, Rate, band_of, memory_seconds_max
from scheduler.proofs.cards import CARDS, GIB, card_of, contradictions
from scheduler.proofs.judgement import (
    Check,
    Evidence,
    Finding,
    Outcome,
    ProofState,
    Standing,
    Verdict,
    after,
    after_miss,
    judge,
)

H100 = "NVIDIA H100 80GB HBM3"
RATE = 1000e12
GOOD = Evidence(faults={}, operations=10**15, seconds=1.0, band=Band(0.75 * RATE, 2 * RATE))
PASSED, FAILED, SLOW = (Verdict(outcome, {}) for outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.SLOW))


@pytest.mark.parametrize(
    ("seconds", "finding"),
    [(1.0, "passed"), (1.33, "passed"), (1.34, "failed"), (0.51, "passed"), (0.49, "failed"), (0.0, "failed")],
)
def test_the_band_has_two_ends(seconds: float, finding: str) -> None:
    verdict = judge(replace(GOOD, seconds=seconds))
    assert verdict.findings[Check.TIMING] == finding
    assert verdict.outcome is (Outcome.PASSED if finding == "passed" else Outcome.SLOW)


def test_a_lease_in_between_excuses_slowness_but_nothing_else() -> None:
    slow = replace(GOOD, seconds=9.0, disturbed=True)
    assert judge(slow).outcome is Outcome.PASSED and judge(slow).findings[Check.TIMING] is Finding.UNKNOWN
    assert judge(replace(slow, seconds=0.1)).outcome is Outcome.SLOW, "too fast is a lie whoever computes beside it"
    assert judge(replace(slow, faults={Fault.ROW: 1})).outcome is Outcome.FAILED


@pytest.mark.parametrize("fault", list(Fault))
def test_one_wrong_row_is_enough(fault: Fault) -> None:
    assert judge(replace(GOOD, faults={fault: 1}, memory_kept=True)).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("check", "evidence"),
    [
        (Check.ROWS, replace(GOOD, faults={Fault.ROW: 256})),
        (Check.TIMING, replace(GOOD, seconds=5.0)),
        (Check.MEMORY, replace(GOOD, faults={Fault.MEMORY_ROW: 3}, memory_kept=True)),
        (Check.MEMORY_TIME, replace(GOOD, memory_kept=True, memory_seconds=2.0, memory_seconds_max=0.2)),
    ],
)
def test_a_check_in_shadow_is_noted_and_changes_nothing(check: Check, evidence: Evidence) -> None:
    assert judge(evidence).outcome is not Outcome.PASSED
    shadowed = judge(evidence, shadow=[check])
    assert shadowed.outcome is Outcome.PASSED
    assert shadowed.findings[check] is Finding.FAILED


def test_verified_comes_only_from_a_proof_and_a_failure_takes_it_at_once() -> None:
    standing = Standing()
    assert standing.state is ProofState.UNPROVEN
    assert after_miss(standing).state is ProofState.UNPROVEN
    verified = after(standing, PASSED)
    assert verified.state is ProofState.VERIFIED
    assert after(verified, FAILED).state is ProofState.SUSPECT


@given(history=st.lists(st.sampled_from([PASSED, FAILED, SLOW, None]), max_size=30))
def test_nobody_is_banned_without_three_failures(history: list[Verdict | None]) -> None:
    standing, failures = Standing(), 0
    for verdict in history:
        before = standing
        standing = after_miss(standing) if verdict is None else after(standing, verdict)
        failures += verdict in (FAILED, SLOW)
        if standing.state is ProofState.BANNED and before.state is not ProofState.BANNED:
            assert failures >= 3 and standing.failures == 3
        assert 0 <= standing.score <= 1000
    if None not in history and all(verdict is PASSED for verdict in history):
        assert standing.state is (ProofState.VERIFIED if history else ProofState.UNPROVEN)


def test_one_slow_timing_changes_nothing_and_two_of_three_are_a_failure() -> None:
    verified = after(Standing(), PASSED)
    once = after(verified, SLOW)
    assert (once.state, once.failures) == (ProofState.VERIFIED, 0)
    assert after(after(after(once, PASSED), PASSED), SLOW).failures == 0, "too long ago"
    assert after(after(once, PASSED), SLOW).failures == 1
    twice = after(once, SLOW)
    assert (twice.state, twice.failures) == (ProofState.SUSPECT, 1)
    assert after(after(twice, SLOW), SLOW).state is ProofState.BANNED


def test_misses_take_the_proof_away_and_never_ban() -> None:
    standing = after(Standing(), PASSED)
    states = []
    for _ in range(20):
        standing = after_miss(standing)
        states.append(standing.state)
    assert states[:2] == [ProofState.VERIFIED, ProofState.SUSPECT] and ProofState.BANNED not in states


def test_a_ban_ends_after_three_proofs_in_a_row() -> None:
    banned = Standing(state=ProofState.BANNED, failures=3)
    one = after(banned, PASSED)
    assert one.state is ProofState.BANNED
    again = after(after(one, FAILED), PASSED)
    assert again.state is ProofState.BANNED, "the count begins anew"
    assert after(after(again, PASSED), PASSED).state is ProofState.VERIFIED


def test_a_frozen_device_is_free_only_after_a_proof_at_one_barrier() -> None:
    frozen = Standing(state=ProofState.FROZEN)
    assert after(frozen, PASSED).state is ProofState.FROZEN
    assert after(frozen, PASSED, together=True).state is ProofState.VERIFIED
    assert after(frozen, FAILED, together=True).state is ProofState.FROZEN


def test_the_band_follows_the_enforced_power_limit() -> None:
    card = card_of(H100)
    rates = [Rate(700, RATE), Rate(350, 0.7 * RATE)]
    assert band_of(card, rates, 700).slowest == pytest.approx(0.75 * RATE)
    assert band_of(card, rates, 380).slowest == pytest.approx(0.75 * 0.7 * RATE), "the nearest measurement"
    assert band_of(card, rates[:1], 350).slowest == pytest.approx(0.75 * RATE / 2), "no faster than the power"
    assert band_of(card, rates[:1], 10).slowest == pytest.approx(0.75 * RATE * 0.3), "a floor under every excuse"
    assert band_of(card, rates, None).slowest == pytest.approx(0.75 * RATE), "who does not tell is at full power"


def test_a_model_nobody_measured_still_has_ends() -> None:
    cpu = 0.4e12
    for model in (H100, "NVIDIA Quadro Unheard Of"):
        band = band_of(card_of(model), [], 700)
        assert band.slowest is not None and band.slowest > cpu
        assert judge(replace(GOOD, operations=10**15, seconds=10**15 / cpu, band=band)).outcome is Outcome.SLOW
    assert judge(replace(GOOD, seconds=1e6, band=UNTIMED)).outcome is Outcome.PASSED


def test_memory_is_timed_only_where_time_tells_something() -> None:
    card = card_of(H100)
    full = Challenge("prf_1", "node_1", "GPU-1", bytes(32), 16_384, 160, 67)
    limit = memory_seconds_max(full, card)
    assert limit is not None and 0.15 <= limit < full.kept_bytes / 64e9
    assert full.kept_bytes / 3350e9 + 0.1 < limit, "the honest have time for the way there and back"
    assert memory_seconds_max(replace(full, kept=4), card) is None
    assert memory_seconds_max(full, None) is None


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (H100, "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A10", "A10"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla V100-SXM2-32GB", "V100"),
    ],
)
def test_a_name_finds_its_card(name: str, model: str) -> None:
    card = card_of(name)
    assert card is not None and card.model == model


def test_what_does_not_fit_together_is_noticed() -> None:
    fits = (H100, 81_559 * 2**20, "9.0", 700_000)
    assert contradictions(*fits) == []
    for place, lie in ((1, 24 * GIB), (2, "8.9"), (3, 1_000_000)):
        told = [*fits]
        told[place] = lie  # type: ignore[call-overload]
        assert len(contradictions(*told)) == 1  # type: ignore[arg-type]
    assert contradictions("A card of tomorrow", 1, None, None) == []
    assert len({card.model for card in CARDS}) == len(CARDS)
