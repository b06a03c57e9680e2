"""The real agent in a process of its own, with a launcher that starts minders without a Ray pool: for tests alone."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from market.errors import MarketError
from provider_agent import journal
from provider_agent.attempts.means import Needs, PoolState
from provider_agent.config import StateFolder
from provider_agent.daemon import Agent, Options
from provider_agent.gpus.detection import open_gpus
from provider_agent.gpus.inventory import node_inventory
from provider_agent.gpus.nvml import open_nvml
from provider_agent.minder import control
from provider_agent.sandbox.choice import SandboxConfig, choose


class DirectLauncher:
    """Starts the minder itself. delay: seconds before it does, to be killed in; broken: a fault of ours instead."""

    state: PoolState = "ready"

    def __init__(self, delay: float, *, broken: bool) -> None:
        self._delay = delay
        self._broken = broken

    def expect(self, needs: Needs) -> None:
        """Nothing is reserved."""

    async def launch(self, attempt_dir: Path, needs: Needs) -> None:
        del needs
        await asyncio.sleep(self._delay)
        if self._broken:
            raise RuntimeError("a fault of ours")
        await asyncio.to_thread(control.launch, attempt_dir)

    def adopt(self, needs: Needs) -> None:
        """There are no books to bring up to date."""

    async def release(self, attempt_id: str) -> None:
        """Nothing was reserved."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("state", type=Path)
    parser.add_argument("--launch-delay", type=float, default=0.0)
    parser.add_argument("--launch-broken", action="store_true")
    parser.add_argument("--job-runtime", type=Path)
    parser.add_argument("--end-jobs", action="store_true")
    arguments = parser.parse_args()
    journal.configure("DEBUG")
    folder = StateFolder(arguments.state)
    folder.prepare()
    with folder.held():
        identity = folder.identity()
        minors = os.environ.get("FAKE_MIG_MINORS")
        gpus = open_nvml(Path(minors)) if minors else open_gpus(identity.simulate, folder.node_key().public_hex)
        sandbox = choose(SandboxConfig(arguments.job_runtime), folder.root, allow_plain=True).sandbox
        agent = Agent(
            folder,
            identity,
            Options(wait_seconds=1.0, end_jobs_on_exit=arguments.end_jobs),
            gpus=gpus,
            sandbox=sandbox,
            launcher=DirectLauncher(arguments.launch_delay, broken=arguments.launch_broken),
            inventory=node_inventory(gpus, identity, folder.root, sandbox.kind),
        )
        asyncio.run(agent.run())


if __name__ == "__main__":
    try:
        main()
    except MarketError as error:
        sys.exit(f"{error.detail}; {error.remedy}")
