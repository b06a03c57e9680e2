"""`gridbay up`: starts the tree of a market on this machine, stays in front of it, and ends it whole."""

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from gridbay.standalone.facts import MarketFacts
from gridbay.standalone.namespace import Isolation, find_isolation
from gridbay.standalone.pid_one import MESSAGE_BYTES_MAX, Order
from gridbay.standalone.state import MarketState
from infra.embedded.errors import EmbeddedServerError
from infra.embedded.postgres import Postgres
from market.errors import Unavailable

MARKET_TREE = "gridbay.standalone.tree:market"
LOOK_EVERY_SECONDS = 1.0
# Longer than the supervisor's own bound: it kills what is slow, and only one that hangs itself is killed from here.
STOP_SECONDS_MAX = 45.0
WAIT_SECONDS = 10.0


def up(
    state_dir: Path | None = None,
    *,
    out: TextIO,
    ready_callback: Callable[[MarketFacts], None] | None = None,
    with_agent: bool = True,
    tree: str = MARKET_TREE,
) -> int:
    """Run the market until SIGINT, SIGTERM or SIGHUP; a second signal kills it at once. Call it in the main thread.

    out gets a line for whatever a person should know; ready_callback is called here once every child is ready.
    Returns the exit status: 0 after a stop that was asked for. No process is left, whichever way it ends.
    Raises StateInUse if a market already runs on the folder, InvalidInput if the folder cannot be used.
    """
    started = time.monotonic()
    state = MarketState.open(state_dir)
    with state.held() as lock:
        state.forget_running()
        try:
            # Seen only from outside of the new namespace: a server that somebody started on the data by hand.
            Postgres(state.folder("postgres"), 0).end_survivors()
            isolation = find_isolation()
        except EmbeddedServerError as error:
            raise Unavailable(str(error)) from None
        if isolation.name == "none":
            _write(out, f"no PID namespace here ({isolation.why}): kill -9 may leave processes behind")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        order = Order(
            state_dir=state.root,
            control_fd=theirs.fileno(),
            lock_fd=lock,
            outer_pid=os.getpid(),
            started=started,
            isolation=isolation.name,
            tree=tree,
            with_agent=with_agent,
        )
        with ours:
            with theirs:
                process = _start(order, isolation, state)
            outer = _Outer(process, ours, out, ready_callback)
            with outer.signals_heard():
                status = outer.attend()
        if status != 0 and not outer.told_why:
            _write(out, f"the supervisor ended with status {status}:\n{_end_of(state.logs / 'supervisor.log')}")
        state.forget_running()
        return status


def _start(order: Order, isolation: Isolation, state: MarketState) -> subprocess.Popen[bytes]:
    with (state.logs / "supervisor.log").open("wb") as log:
        return subprocess.Popen(
            isolation.wrap(order.to_argv()),
            pass_fds=(order.control_fd, order.lock_fd),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # A terminal's Ctrl-C is for us alone: we stop the tree in order.
            start_new_session=True,
        )


class _Outer:
    """The process in front: hears signals, passes on what PID 1 tells, waits for the end."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        out: TextIO,
        ready_callback: Callable[[MarketFacts], None] | None,
    ) -> None:
        self._process, self._control, self._out = process, control, out
        self._ready_callback = ready_callback
        self._stop_by: float | None = None
        self.told_why = False

    @contextmanager
    def signals_heard(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # One that is ignored (nohup, a shell's background job) stays so.
        heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def attend(self) -> int:
        """Until the tree has ended; whatever goes wrong here ends it too."""
        try:
            while self._hear():
                if self._stop_by is not None and time.monotonic() > self._stop_by:
                    _write(self._out, f"it did not stop within {STOP_SECONDS_MAX:g} s: killing everything")
                    self._process.kill()
                    self._stop_by = None
            return self._process.wait(WAIT_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()

    def _hear(self) -> bool:
        """Take one message, or look up after a second; False when the other side is gone."""
        readable, _, _ = select.select([self._control], [], [], LOOK_EVERY_SECONDS)
        if not readable:
            return True
        try:
            message = self._control.recv(MESSAGE_BYTES_MAX)
        except ConnectionResetError:
            return False
        if message:
            self._pass_on(json.loads(message))
        return bool(message)

    def _pass_on(self, message: dict[str, Any]) -> None:
        if "say" in message:
            _write(self._out, message["say"])
        elif "failed" in message:
            self.told_why = True
            _write(self._out, f"the market stops: {message['failed']}")
        elif "ready" in message and self._ready_callback is not None:
            self._ready_callback(MarketFacts.from_json(message["ready"]))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_by is not None:
            self._process.kill()
            return
        self._stop_by = time.monotonic() + STOP_SECONDS_MAX
        with suppress(OSError):
            self._control.send(b"stop")
        _write(self._out, "stopping; once more to kill everything at once")


def _write(out: TextIO, line: str) -> None:
    # Whoever read this may have gone; the market goes on.
    with suppress(OSError, ValueError):
        out.write(f"{line}\n")
        out.flush()


def _end_of(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
