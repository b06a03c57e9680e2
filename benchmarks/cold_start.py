"""How soon a market answers, finishes a job, shows the demo; and how much memory it takes (issue: cold start).

Each round starts `gridbay up` on a fresh state folder; the demo's rounds are warm (both environments and a state are
there). There is no second side to alternate with: the targets are absolute, so medians and spreads are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from benchmarks.memory import Memory, measure
from gridbay.cli.embedded import running_market
from gridbay.cli.local_wallet import LocalWallet
from gridbay.client import Gridbay
from gridbay.standalone.background import RunningMarket, start_in_background
from market.errors import MarketError

Found = TypeVar("Found")
ROUNDS, DEMO_ROUNDS = 5, 3
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.05
TARGETS = {
    "first_answer_s": 12.0,
    "first_job_s": 30.0,
    "demo_s": 45.0,
    "market_mb": 900.0,
    "pool_mb": 400.0,
    "agent_mb": 100.0,
}


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from `gridbay up`, and the memory once a job has finished."""

    first_answer: float
    first_job: float
    memory: Memory


def main() -> None:
    """Print a row per figure and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--demo-rounds", type=int, default=DEMO_ROUNDS)
    options = parser.parse_args()
    starts = [_start() for _ in range(options.rounds)]
    figures = {
        "first_answer_s": [start.first_answer for start in starts],
        "first_job_s": [start.first_job for start in starts],
        "market_mb": [start.memory.market for start in starts],
        "pool_mb": [start.memory.pool for start in starts],
        "agent_mb": [start.memory.agent for start in starts],
    }
    if options.demo_rounds:
        figures["demo_s"] = _demos(options.demo_rounds)
    print(f"{'figure':<16}{'median':>9}{'least':>9}{'most':>9}{'target':>9}   load {os.getloadavg()[0]:.1f}")
    for name, values in figures.items():
        print(f"{name:<16}{statistics.median(values):>9.1f}{min(values):>9.1f}{max(values):>9.1f}{TARGETS[name]:>9.0f}")
    medians = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    ratio = max(medians[name] / TARGETS[name] for name in medians)
    print(json.dumps({"name": "cold_start", "ratio": round(ratio, 3), "target": 1.0, **medians}))


def _start() -> Start:
    with tempfile.TemporaryDirectory(prefix="gridbay-cold-") as home:
        state = Path(home) / "market"
        began = time.monotonic()
        with start_in_background(state) as running:
            sdk = _until(lambda: _answering(state))
            first_answer = time.monotonic() - began
            running.wait_ready(WAIT_SECONDS)
            with sdk:
                _fund(sdk, state)
                job = _until(lambda: _submitted(sdk))
                sdk.wait(job, timeout_seconds=WAIT_SECONDS, billed=False)
                first_job = time.monotonic() - began
                sdk.wait(job, timeout_seconds=WAIT_SECONDS)
            return Start(first_answer, first_job, _memory(running))


def _answering(state: Path) -> Gridbay | None:
    """A client whose identity the market has confirmed."""
    known, credentials = state / "market.json", state / "credentials.json"
    try:
        port = json.loads(known.read_text())["ports"]["api"]
        token = json.loads(credentials.read_text())["customer_token"]
    except (OSError, ValueError, KeyError):
        return None
    client = Gridbay(f"http://127.0.0.1:{port}", token, patience_seconds=0)
    try:
        client.me()
    except MarketError:
        client.close()
        return None
    return client


def _fund(sdk: Gridbay, state: Path) -> None:
    market = running_market(state)
    assert market is not None
    deposit = sdk.deposit(1_000_000)
    with LocalWallet(market.rpc_url, state / "bench-wallet.json") as wallet:
        wallet.pay(deposit)
    _until(lambda: sdk.deposit_status(deposit.deposit_id).state == "credited" or None)


def _submitted(sdk: Gridbay) -> str | None:
    try:
        return sdk.submit({"run": "true", "max_duration": "5m"}).job_id
    except MarketError:
        return None  # The node is not listed yet.


def _memory(running: RunningMarket) -> Memory:
    assert psutil.pid_exists(running.pid)
    return measure(running.pid)


def _demos(rounds: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="gridbay-demo-") as home:
        command = [sys.executable, "-m", "gridbay.cli.main", "demo", "--state", f"{home}/demo"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
        seconds = []
        for _ in range(rounds):
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
            seconds.append(time.monotonic() - began)
        return seconds


def _until(look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := look()) is None:
        if time.monotonic() > deadline:
            sys.exit(f"nothing came within {WAIT_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return found


if __name__ == "__main__":
    main()
