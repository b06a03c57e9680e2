"""The verdict on one answer, and what a device's standing is after it. Pure: no clock, no session."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from market.proof.verification import Fault
from scheduler.proofs.bands import Band

FAILURES_TO_BAN = 3
PASSES_TO_LIFT = 3
MISSES_TO_SUSPECT = 2
TIMINGS_LOOKED_AT = 3
TIMINGS_TO_FAIL = 2
SCORE_MAX = 1000
SCORE_WEIGHT = 8


class Check(StrEnum):
    """What is judged. Each can run in shadow: it is noted, and changes nothing."""

    ROWS = "rows"
    TIMING = "timing"
    MEMORY = "memory"
    MEMORY_TIME = "memory_time"


class Finding(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """There was nothing to judge by: no rate is known of the model, or a lease came in between."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """faults: of the arithmetic. seconds: from the issue to the commit; memory_seconds: from telling the memory nonce
    to its roots; both by the portal's clock alone. disturbed: the device was leased meanwhile."""

    faults: Mapping[Fault, int]
    operations: int
    seconds: float
    band: Band
    memory_kept: bool = False
    memory_seconds: float = 0.0
    memory_seconds_max: float | None = None
    disturbed: bool = False


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SLOW = "slow"
    """Everything but its timing was right: noise may do that once, so two of three count."""


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    findings: Mapping[Check, Finding]


def judge(evidence: Evidence, shadow: Collection[Check] = ()) -> Verdict:
    """What the evidence shows, leaving aside the checks that run in shadow."""
    faults = set(evidence.faults)
    remembered = faults & {Fault.MEMORY_PATH, Fault.MEMORY_ROW}
    findings = {
        Check.ROWS: Finding.FAILED if faults - remembered else Finding.PASSED,
        Check.TIMING: _timing(evidence),
        Check.MEMORY: _memory(evidence, wrong=bool(remembered)),
        Check.MEMORY_TIME: _memory_time(evidence),
    }
    failed = {check for check, finding in findings.items() if finding is Finding.FAILED} - set(shadow)
    if not failed:
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.SLOW if failed <= {Check.TIMING, Check.MEMORY_TIME} else Outcome.FAILED
    return Verdict(outcome, findings)


def _timing(evidence: Evidence) -> Finding:
    band = evidence.band
    if evidence.seconds <= 0:
        return Finding.FAILED
    rate = evidence.operations / evidence.seconds
    if band.fastest is not None and rate > band.fastest:
        return Finding.FAILED
    if band.slowest is None or evidence.disturbed:
        return Finding.UNKNOWN
    return Finding.PASSED if rate >= band.slowest else Finding.FAILED


def _memory(evidence: Evidence, *, wrong: bool) -> Finding:
    if not evidence.memory_kept:
        return Finding.UNKNOWN
    return Finding.FAILED if wrong else Finding.PASSED


def _memory_time(evidence: Evidence) -> Finding:
    limit = evidence.memory_seconds_max
    if limit is None or evidence.disturbed:
        return Finding.UNKNOWN
    return Finding.PASSED if evidence.memory_seconds <= limit else Finding.FAILED


class ProofState(StrEnum):
    """Where a device stands. `verified` only after a proof."""

    UNPROVEN = "unproven"
    """Never challenged; or a slice of a card that computes, which is all that is seen of it."""
    VERIFIED = "verified"
    SUSPECT = "suspect"
    FROZEN = "frozen"
    """Its UUID has a second owner: neither is leased before both were challenged at one barrier."""
    BANNED = "banned"


BARRED = (ProofState.FROZEN, ProofState.BANNED)
"""Nothing is leased of a device in these states."""


@dataclass(frozen=True, slots=True)
class Standing:
    """failures, misses, passes: in a row. slow: the last verdicts, newest first. score: 0 to 1000, the latest verdicts
    counting most."""

    state: ProofState = ProofState.UNPROVEN
    failures: int = 0
    misses: int = 0
    passes: int = 0
    slow: tuple[bool, ...] = ()
    score: int = 0


def after(standing: Standing, verdict: Verdict, *, together: bool = False, of_slice: bool = False) -> Standing:
    """The standing after a verdict. together: it was given with every other owner of the UUID at one barrier.

    of_slice: the slices of a card share its clocks and power with whatever runs beside them, so no time tells whose
    answer it was, nor one slice from several: what passes computes, and is not verified.
    """
    timings = (verdict.outcome is Outcome.SLOW, *standing.slow)[:TIMINGS_LOOKED_AT]
    standing = replace(standing, slow=timings, misses=0)
    if verdict.outcome is Outcome.SLOW and sum(timings) < TIMINGS_TO_FAIL:
        return standing
    if verdict.outcome is not Outcome.PASSED:
        return _failed(standing)
    passes = standing.passes + 1
    lifted = standing.state is ProofState.BANNED and passes >= PASSES_TO_LIFT
    held = standing.state in BARRED and not lifted and not (standing.state is ProofState.FROZEN and together)
    state = standing.state if held else ProofState.UNPROVEN if of_slice else ProofState.VERIFIED
    score = standing.score + (SCORE_MAX - standing.score + SCORE_WEIGHT - 1) // SCORE_WEIGHT
    return replace(standing, state=state, failures=0, passes=passes, score=score)


def after_miss(standing: Standing) -> Standing:
    """The standing after a challenge that was not answered in time: no proof, and no crime."""
    misses = standing.misses + 1
    lost = misses >= MISSES_TO_SUSPECT and standing.state is ProofState.VERIFIED
    state = ProofState.SUSPECT if lost else standing.state
    return replace(standing, state=state, misses=misses, passes=0)


def _failed(standing: Standing) -> Standing:
    failures = standing.failures + 1
    state = standing.state if standing.state in BARRED else ProofState.SUSPECT
    if failures >= FAILURES_TO_BAN:
        state = ProofState.BANNED
    score = standing.score - (standing.score + SCORE_WEIGHT - 1) // SCORE_WEIGHT
    return replace(standing, state=state, failures=failures, passes=0, score=score)
