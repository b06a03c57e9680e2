"""The tests' side of the nursery: a process that was forked there, told of and killed like any other."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from os import kill
from pathlib import Path
from queue import SimpleQueue
from signal import SIGTERM
from threading import Event, Thread

START_SECONDS = 180.0


class Fork:
    """A process of the product; that part of subprocess.Popen which the tests use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended = Event()
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status

    def wait(self, timeout: float) -> int:
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        assert self.status is not None
        return self.status

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            kill(self.pid, SIGTERM)


class Nursery:
    """Forks what it is asked for, in that environment; made when the first is wanted."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment, self._log = environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._born: SimpleQueue[Fork] = SimpleQueue()
        self._living: dict[int, Fork] = {}

    def fork(self, module: str, environment: Mapping[str, str], log: Path) -> Fork:
        """A process that runs the module's main."""
        if self._process is None:
            self._process = self._open()
        assert self._process.stdin is not None
        order = {"module": module, "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self._born.get(timeout=START_SECONDS)

    def close(self) -> None:
        """The end of it and of all its children."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._told.join()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def _open(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("nursery.py"))],
                env={**self._environment, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._told = Thread(target=self._listen, args=(process,), daemon=True)
        self._told.start()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"+"):
                fork = Fork(int(line[1:]))
                self._living[fork.pid] = fork
                self._born.put(fork)
            else:
                pid, status = line[1:].split()
                fork = self._living.pop(int(pid))
                fork.status = int(status)
                fork.ended.set()
