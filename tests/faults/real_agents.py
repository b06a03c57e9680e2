"""Real agents that start real minders and sandboxes, without a Ray pool, joined to the control plane of a test."""

import os
import subprocess
import sys
from pathlib import Path

from infra.embedded.server import start
from provider_agent.join import Offering, join
from provider_agent.minder import control

PROGRAM = Path(__file__).parents[1] / "provider_agent" / "direct_agent.py"


class RealAgent:
    """One state folder and the agent that runs on it."""

    def __init__(self, folder: Path, url: str, join_token: str, name: str) -> None:
        self._folder, self._log = folder, folder.with_name(f"{folder.name}.log")
        # A processor of its own price is what makes a machine without GPUs an offer.
        offering = Offering(name=name, price_microusd_per_cpu_hour=3_600_000)
        self.node_id = join(folder, url, join_token, offering, sandbox="bubblewrap").node_id
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = start([sys.executable, str(PROGRAM), str(self._folder)], _environment(), output)

    def close(self) -> None:
        """It and all its minders end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for attempt in (self._folder / "attempts").glob("*"):
            control.kill(attempt)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GRIDBAY_")}
