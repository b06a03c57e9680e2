"""Runs commands in a node's real sandbox through a real minder, as the agent does; also as a script, for a plain user.

As a script: `python inside.py FOLDER TARGETS.json` prints the results of the escape probes as one line of JSON.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from escape_probes import FILES

from provider_agent.minder import control, layout, orders
from provider_agent.minder.orders import Order, Outcome
from provider_agent.sandbox.choice import SandboxConfig, choose
from provider_agent.sandbox.port import MEBIBYTE, Limits, Request, Sandbox

JOBS = Path(__file__).parents[3] / ".venv-jobs"
CUSTOMER_SECRET = "customers-canary-71c3"
SMALL = Limits(cpus=1, memory_bytes=512 * MEBIBYTE, processes_max=64, scratch_bytes=64 * MEBIBYTE)


class Jobs:
    """Attempts of one node below one folder."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.orders: dict[Path, Order] = {}

    def start(self, script: str, *, files: tuple[Path, ...] = (), limits: Limits = SMALL, **request: Any) -> Path:
        slot = len(self.orders)
        attempt = self.folder / f"attempt-{os.getpid()}-{slot}"
        workdir = attempt / "work"
        workdir.mkdir(mode=0o700, parents=True)
        attempt.chmod(0o700)
        for file in files:
            shutil.copy(file, workdir)
        argv = ("/bin/sh", "-c", script)
        asked = Request(attempt.name, argv, workdir, slot=slot, limits=limits, **request)
        order = Order(attempt_id=attempt.name, command=self.sandbox.prepare(asked), workdir=workdir, slot=slot)
        orders.write_order(attempt, order, layout.boottime_ns() + 60 * 10**9)
        self.orders[attempt] = order
        control.launch(attempt)
        return attempt

    def run(self, script: str, **request: Any) -> tuple[Outcome, str]:
        return self.end(self.start(script, **request))

    def end(self, attempt: Path, seconds: float = 30.0) -> tuple[Outcome, str]:
        """Wait for the end: the outcome and the whole log."""
        until = time.monotonic() + seconds
        while (outcome := control.outcome(attempt)) is None:
            assert time.monotonic() < until, f"no end within {seconds} s; log: {orders.log_path(attempt).read_text()}"
            time.sleep(0.005)
        log = orders.log_path(attempt)
        return outcome, log.read_text(errors="replace") if log.exists() else outcome.detail

    def close(self) -> None:
        for attempt, order in self.orders.items():
            control.kill(attempt)
            self.sandbox.clean_up(order)


def probe_all(jobs: Jobs, targets: dict[str, Any]) -> dict[str, str]:
    """Every way out, tried in one sandbox."""
    file = jobs.folder / "targets.json"
    file.write_text(json.dumps({**targets, "processes_max": SMALL.processes_max}))
    outcome, log = jobs.run(
        "/usr/bin/python3 escape_probes.py targets.json",
        files=(*FILES, file),
        environment={"CUSTOMER": CUSTOMER_SECRET},
    )
    assert outcome.exit_code == 0, log
    results: dict[str, str] = json.loads(log.splitlines()[-1])
    return results


def main() -> None:
    folder = Path(sys.argv[1])
    jobs = Jobs(folder, choose(SandboxConfig(JOBS), folder, allow_plain=False).sandbox)
    try:
        print(json.dumps(probe_all(jobs, json.loads(Path(sys.argv[2]).read_text()))))
    finally:
        jobs.close()


if __name__ == "__main__":
    main()
