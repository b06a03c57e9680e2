"""Owns the start of a minder: detached from whoever calls, with nothing of the caller's environment.

Standard library only: Ray's worker imports this and little else.
"""

import atexit
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from threading import Lock

from provider_agent.minder import layout

START_SECONDS_MAX = 20.0
TRIES = 2
"""A nursery that died is noticed by the next who asks, and replaced."""
NURSERY = Path(layout.__file__).with_name("nursery.py")
# Ray's workers hold the pool's token in their environment; nothing of it reaches a minder. The linker does all its work
# at once: what it puts off, each fork would do again.
CLEAN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "LD_BIND_NOW": "1",
}


class LaunchFailed(Exception):
    """The minder did not come to life; the attempt was not started, or its command never ran."""


class AlreadyStarted(LaunchFailed):
    """The attempt has or had a minder: it is adopted, never started twice."""


def launch(attempt_dir: Path, nursery: "Nursery | None" = None) -> None:
    """Start the minder of an ordered attempt and return once it lives (2 ms; a nursery's first one 30 ms).

    nursery: this process's own if none is given.
    """
    errors_path = attempt_dir / layout.LOCK
    try:
        with errors_path.open("ab") as errors:
            answer = _ask(nursery or _nursery, attempt_dir, errors.fileno())
    except TimeoutError:
        raise LaunchFailed(f"the minder of {attempt_dir} was not alive after {START_SECONDS_MAX:.0f} s") from None
    except OSError as error:
        raise LaunchFailed(f"{attempt_dir}: {error}") from None
    if answer == bytes([layout.ALREADY_STARTED]):
        raise AlreadyStarted(f"{attempt_dir} was started before")
    if answer != layout.ALIVE:
        words = errors_path.read_text(errors="replace")[-2000:].strip()
        raise LaunchFailed(f"the minder of {attempt_dir} did not come to life: {words}")


def _ask(nursery: "Nursery", attempt_dir: Path, errors: int) -> bytes:
    """What the start said; nothing when nurseries died over it. Raises OSError, of which TimeoutError is one."""
    asked: socket.socket | None = None
    for _ in range(TRIES):
        heard, tell = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                asked = nursery.ask(os.fsencode(attempt_dir.resolve()), [tell, errors], other_than=asked)
            finally:
                os.close(tell)
            waited = select.poll()
            waited.register(heard, select.POLLIN)
            if not waited.poll(START_SECONDS_MAX * 1000):
                nursery.drop(asked)
                raise TimeoutError
            if answer := os.read(heard, 1):
                return answer
        finally:
            os.close(heard)
    return b""


class Nursery:
    """The parent of minders, begun when it is first asked. It ends with this process, its minders do not."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._owner = 0

    def ask(self, path: bytes, descriptors: list[int], *, other_than: socket.socket | None = None) -> socket.socket:
        """Hand over a start, and say by which socket: each nursery has its own. Raises OSError."""
        with self._lock:
            # A fork of this process has a nursery of its own: it must not keep another's alive.
            if self._socket is None or self._socket is other_than or self._owner != os.getpid():
                self._begin()
            try:
                return self._send(path, descriptors)
            except (BrokenPipeError, ConnectionResetError):  # it died
                self._begin()
                return self._send(path, descriptors)

    def _send(self, path: bytes, descriptors: list[int]) -> socket.socket:
        assert self._socket is not None
        socket.send_fds(self._socket, [path], descriptors)
        return self._socket

    def _begin(self) -> None:
        self._end()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._owner = os.getpid()
        with theirs:
            # It goes on in a fork of its own.
            try:
                subprocess.run(
                    [sys.executable, "-I", "-S", str(NURSERY)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=CLEAN_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                    check=True,
                    timeout=START_SECONDS_MAX,
                )
            except subprocess.TimeoutExpired:
                raise TimeoutError from None
            except subprocess.CalledProcessError as error:
                raise OSError(f"the nursery of minders ended with {error.returncode}") from None

    def drop(self, silent: socket.socket) -> None:
        """The nursery behind that socket does not answer: the next who asks begins another."""
        with self._lock:
            if self._socket is silent:
                self._end()

    def close(self) -> None:
        """Let it end: it does once nobody can ask any more."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


_nursery = Nursery()
atexit.register(_nursery.close)
