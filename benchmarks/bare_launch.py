"""The same minder and sandbox without Ray and without a market: what a job costs that nobody sells.

A warm launch finds a nursery, as the market's own do: the target is held against that one. For a cold one nothing was
made ready, and its minder's Python starts too, as in the prototype that the target was set by.
"""

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from provider_agent.minder import control, layout, orders
from provider_agent.minder.launcher import Nursery, launch
from provider_agent.minder.orders import Order
from provider_agent.sandbox.choice import SandboxConfig, choose
from provider_agent.sandbox.port import MEBIBYTE, Limits, Request, Sandbox

UID_FIRST = 300_000
"""Beyond the users of the market's own agent."""
DEADLINE_SECONDS = 60.0
LOOK_SECONDS, BURST_LOOK_SECONDS = 0.0005, 0.01
"""Between two looks for a return code; many at once look less often, so that they do not take the CPU themselves."""


class BareLauncher:
    """Runs commands, each in a folder of its own."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox, self._folder = sandbox, folder
        self._numbers = itertools.count(1)
        self._warm = Nursery()

    def burst(self, command: str, count: int, at_once: int) -> float:
        """Commands a second, so many at once: what this machine can launch at all."""
        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as threads:
            # Whoever runs in a thread has that thread's user.
            for lane in [threads.submit(self._lane, command, slot, count // at_once) for slot in range(at_once)]:
                lane.result()
        return count // at_once * at_once / (time.monotonic() - began)

    def _lane(self, command: str, slot: int, count: int) -> None:
        for _ in range(count):
            self.run(command, slot, BURST_LOOK_SECONDS, warm=True)

    def run(self, command: str, slot: int = 0, look_seconds: float = LOOK_SECONDS, *, warm: bool = False) -> float:
        """Milliseconds from nothing to the return code on disk. slot: of its user, of those at once each has one."""
        nursery = self._warm if warm else Nursery()
        attempt = self._folder / f"bare-{next(self._numbers)}"
        workdir = attempt / "work"
        began = time.monotonic_ns()
        workdir.mkdir(parents=True)
        limits = Limits(cpus=1, memory_bytes=512 * MEBIBYTE)
        request = Request(attempt.name, ("bash", "-c", command), workdir, slot=slot, limits=limits)
        order = Order(attempt_id=attempt.name, command=self._sandbox.prepare(request), workdir=workdir, slot=slot)
        try:
            orders.write_order(attempt, order, layout.boottime_ns() + round(DEADLINE_SECONDS * 1e9))
            launch(attempt, nursery)
            while (outcome := control.outcome(attempt)) is None:
                time.sleep(look_seconds)
            ended = time.monotonic_ns()
            if outcome.exit_code != 0:
                raise RuntimeError(f"the bare launch ended with {outcome.exit_code}: {outcome.detail}")
        finally:
            control.kill(attempt)
            self._sandbox.clean_up(order)
            if not warm:
                nursery.close()
        return (ended - began) / 1e6


@contextmanager
def bare_launcher(folder: Path, job_environment: Path | None) -> Iterator[BareLauncher]:
    """With the sandbox that the market's agent would choose on this machine."""
    folder.mkdir()
    config = SandboxConfig(job_environment, uid_first=UID_FIRST, stage=Path("/run/gridbay-bench-stage"))
    yield BareLauncher(choose(config, folder, allow_plain=True).sandbox, folder)
