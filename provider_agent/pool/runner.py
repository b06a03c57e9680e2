"""Owns the one actor of a node: it starts minders and holds nothing, so its death costs nothing."""

from pathlib import Path

from provider_agent.minder.launcher import AlreadyStarted, launch

ACTOR_PREFIX = "runner-"


class Runner:
    """Runs in a Ray worker. The minder it starts is no child of it: see the minder's own `main`."""

    def launch(self, attempt_dir: str) -> bool:
        """True when the minder was started, False when the attempt has or had one (then it is adopted)."""
        try:
            launch(Path(attempt_dir))
        except AlreadyStarted:
            return False
        return True
