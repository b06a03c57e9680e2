"""Owns the one actor of a node: it starts minders and holds nothing, so its death costs nothing.

The agent of the node asks it over a unix socket, for that costs a tenth of a call through Ray; where nobody answers
there, a call through Ray has the runner started again.
"""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

from provider_agent.minder.launcher import AlreadyStarted, LaunchFailed, launch

SOCKET = "runner.sock"
"""In the folder that is home to all processes of the pool."""
ACTOR_PREFIX = "runner-"
LAUNCHES_AT_ONCE_MAX = 8
ASKERS_WAITING_MAX = 128
PATH_BYTES_MAX = 4096


class Runner:
    """Runs in a Ray worker. The minders it has forked are not below it: see the nursery."""

    def __init__(self) -> None:
        path = Path.home() / SOCKET
        path.unlink(missing_ok=True)  # of a runner that was killed
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(ASKERS_WAITING_MAX)
        self._threads = ThreadPoolExecutor(LAUNCHES_AT_ONCE_MAX)
        Thread(target=self._serve, daemon=True).start()

    def launch(self, attempt_dir: str) -> bool:
        """True when the minder was started, False when the attempt has or had one (then it is adopted)."""
        try:
            launch(Path(attempt_dir))
        except AlreadyStarted:
            return False
        return True

    def _serve(self) -> None:
        while True:
            asker, _ = self._listener.accept()
            self._threads.submit(self._answer, asker)

    def _answer(self, asker: socket.socket) -> None:
        """One line asks, with an attempt's folder; one answers. Without an answer they ask through Ray."""
        with asker, asker.makefile("rwb") as lines:
            line = lines.readline(PATH_BYTES_MAX)
            if not line.endswith(b"\n"):
                return
            try:
                answer: dict[str, object] = {"launched": self.launch(line[:-1].decode())}
            except LaunchFailed as error:
                answer = {"refused": str(error)}
            lines.write(json.dumps(answer).encode() + b"\n")
