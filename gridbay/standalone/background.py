"""A market in the background, for `gridbay demo` and tests: started, awaited with progress, stopped."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from gridbay.standalone.facts import MarketFacts
from gridbay.standalone.market import MARKET_TREE
from gridbay.standalone.state import MarketState, StateInUse
from gridbay.standalone.status import status
from infra.embedded.server import tool
from market.errors import Unavailable

READY_SECONDS = 180.0
STOP_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.05
LOG_LINES = 40


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a start has come. waiting_for: names of the children that are not ready yet."""

    ready: int
    total: int
    waiting_for: tuple[str, ...]
    elapsed_seconds: float


class RunningMarket:
    """A market that this process has started and that ends with it; use it in a `with` block."""

    def __init__(self, process: subprocess.Popen[bytes], state: MarketState) -> None:
        self._process, self._state = process, state
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def state_dir(self) -> Path:
        return self._state.root

    @property
    def log_file(self) -> Path:
        """What `gridbay up` would have printed."""
        return self._state.logs / "up.log"

    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_ready(
        self, seconds: float = READY_SECONDS, on_progress: Callable[[Progress], None] | None = None
    ) -> MarketFacts:
        """Until every child is ready. on_progress hears of each change, and never twice the same.

        Raises Unavailable, with the end of its log, if the market ends or takes longer.
        """
        told: tuple[str, ...] | None = None
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            seen = status(self.state_dir)
            if seen.pid == self.pid and seen.facts is not None:
                return seen.facts
            waiting = tuple(child.name for child in seen.children if child.ready_after_seconds is None)
            if on_progress is not None and seen.pid == self.pid and seen.children and waiting != told:
                elapsed = time.monotonic() - self._started
                total = len(seen.children)
                on_progress(Progress(total - len(waiting), total, waiting, elapsed))
                told = waiting
            time.sleep(LOOK_EVERY_SECONDS)
        what = f"is not ready after {seconds:g} s" if self.alive() else f"ended with status {self._process.returncode}"
        end = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES:])
        raise Unavailable(
            f"the market on {self.state_dir} {what}:\n{end}", remedy=f"see the logs in {self._state.logs}"
        )

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Stop it cleanly, or after that time at once; the exit status."""
        if self.alive():
            self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(seconds)

    def __enter__(self) -> "RunningMarket":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_in_background(
    state_dir: Path | None = None, *, with_agent: bool = True, tree: str = MARKET_TREE
) -> RunningMarket:
    """Start `gridbay up` as a child that is stopped cleanly when the calling thread ends. Call it in the main thread.

    Raises StateInUse if a market already runs there, InvalidInput if the folder cannot be used.
    """
    state = MarketState.open(state_dir)
    holder = state.holder()
    if holder is not None:
        raise StateInUse(state.root, holder)
    command = [tool("setpriv"), "--pdeathsig", "TERM", "--", *_command(state.root, with_agent=with_agent, tree=tree)]
    with (state.logs / "up.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    return RunningMarket(process, state)


def _command(state_dir: Path, *, with_agent: bool, tree: str) -> list[str]:
    agent = [] if with_agent else ["--no-agent"]
    return [sys.executable, "-P", "-m", "gridbay.standalone", "--state", str(state_dir), "--tree", tree, *agent]
