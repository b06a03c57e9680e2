"""How often the proof of GPU catches each cheat, how often it refuses the honest, and what it costs the verifier.

Every trial is a challenge from issue to verdict with the real verifier and the real judgement; the matrices are small,
for a CPU, and time is virtual (benchmarks/proof_cheats/stage.py). Needs numpy alone.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.proof_cheats import fewer_bits, less_work, other_silicon
from benchmarks.proof_cheats.honest import Honest
from benchmarks.proof_cheats.stage import Prover, Stage
from market.proof import arithmetic, philox
from market.proof.challenge import MEMORY_PAIRS, OPENED_PAIRS
from scheduler.proofs.judgement import Outcome, Verdict

TRIALS = 1000
DETECTED_MIN, FALSE_REJECT_MAX = 0.999, 0.001
COST_SIZE = 8192

Trial = Callable[[Stage], Verdict]


def _of(prover: Callable[[Stage], Prover]) -> Trial:
    return lambda stage: stage.run(prover(stage))


HONEST: Mapping[str, Trial] = {
    "honest, 5 % noise": _of(Honest),
}
CHEATS: Mapping[str, Trial] = {
    "echo": _of(less_work.Echo),
    "precomputed": _of(less_work.Precomputed),
    "half the rows": _of(less_work.HalfTheRows),
    "nine tenths of the rows": _of(less_work.NineTenthsOfTheRows),
    "whole rounds skipped": _of(less_work.RoundsSkipped),
    "computed after the draw": _of(less_work.ComputedAfterwards),
    "FP8 inputs": _of(fewer_bits.Fp8Inputs),
    "FP16 output": _of(fewer_bits.Fp16Output),
    "BF16 output": _of(fewer_bits.Bf16Output),
    "replay": _of(less_work.Replay),
    "wrong seed": _of(less_work.WrongSeed),
    "another device's answer": _of(less_work.AnotherDevicesAnswer),
    "one card as 2": _of(other_silicon.OneCardAsTwo),
    "one card as 8": _of(other_silicon.OneCardAsEight),
    "memory faked in RAM": _of(other_silicon.MemoryInRam),
    "memory computed again": _of(other_silicon.MemoryComputedAgain),
    "cloned UUID": other_silicon.cloned_uuid,
    "slower card": _of(other_silicon.SlowerCard),
    "renamed card": _of(other_silicon.RenamedCard),
    "two cards as one": _of(other_silicon.TooFast),
    "lying clock": _of(other_silicon.LyingClock),
}


@dataclass(frozen=True)
class Row:
    name: str
    passed: int
    trials: int
    verifier_seconds: float

    @property
    def refused(self) -> float:
        return 1 - self.passed / self.trials


def measure(name: str, trial: Trial, trials: int, seed: int = 1) -> Row:
    """How many of the trials pass."""
    stage = Stage(seed)
    passed = sum(trial(stage).outcome is Outcome.PASSED for _ in range(trials))
    return Row(name, passed, trials, stage.verifier_seconds)


def full_size_cost() -> float:
    """CPU seconds that the verifier's product takes at the full size of a challenge without a memory check."""
    began = time.process_time()
    left = philox.rows(bytes(32), COST_SIZE, range(OPENED_PAIRS + MEMORY_PAIRS))
    arithmetic.product_with_generated(left, bytes(range(32)), COST_SIZE)
    return time.process_time() - began


def main() -> int:
    """Print a row for each prover and one JSON line. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    options = parser.parse_args()
    print(f"{'prover':<26}{'trials':>8}{'passed':>8}{'refused':>10}")
    honest, cheats = (
        [_show(name, trial, options.trials) for name, trial in group.items()] for group in (HONEST, CHEATS)
    )
    rejected = max(row.refused for row in honest)
    detected = min(row.refused for row in cheats)
    cost = full_size_cost()
    kept = detected >= DETECTED_MIN and rejected <= FALSE_REJECT_MAX
    print(f"\nverifier at size {COST_SIZE}: {cost:.2f} CPU seconds a proof (load {os.getloadavg()[0]:.1f})")
    figures = {"detected": detected, "false_reject": rejected, "verifier_cpu_seconds": round(cost, 2)}
    print(json.dumps({"name": "proof", "ratio": round(detected / DETECTED_MIN, 4), "target": DETECTED_MIN, **figures}))
    return 0 if kept else 1


def _show(name: str, trial: Trial, trials: int) -> Row:
    row = measure(name, trial, trials)
    print(f"{row.name:<26}{row.trials:>8}{row.passed:>8}{row.refused:>9.2%}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
