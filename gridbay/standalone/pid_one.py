"""The first process of a market's namespace: builds the tree, supervises it, and tells the outer process what happens.

It speaks to market.py through a socket of messages: out go {"say": line}, {"ready": facts} and {"failed": reason};
anything that comes in, and the end of the outer process, means: stop.
"""

import asyncio
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gridbay.standalone.children import Tree
from gridbay.standalone.facts import MarketFacts, url_of
from gridbay.standalone.namespace import adopt_orphans
from gridbay.standalone.process_table import children_of
from gridbay.standalone.state import MarketState
from gridbay.standalone.supervisor import Supervisor
from infra.embedded.errors import EmbeddedServerError

SWEEP_ROUNDS_MAX = 200
SWEEP_PAUSE_SECONDS = 0.02
# Twenty lines of a log and more; below the default buffer of a socket.
MESSAGE_BYTES_MAX = 128 * 1024


class TreeBuilder(Protocol):
    """Says which children a market has. ports: by the names in state.PORTS."""

    def __call__(self, state: MarketState, ports: dict[str, int], *, with_agent: bool) -> Tree: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What market.py asks of this process. started: its CLOCK_MONOTONIC at the start."""

    state_dir: Path
    control_fd: int
    lock_fd: int
    outer_pid: int
    started: float
    isolation: str
    tree: str
    with_agent: bool

    def to_argv(self) -> list[str]:
        """The command that runs this module with the order; -P keeps the current folder off the import path."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return [sys.executable, "-P", "-m", __name__, json.dumps({**values, "state_dir": str(self.state_dir)})]

    @classmethod
    def from_json(cls, text: str) -> "Order":
        values = json.loads(text)
        return cls(**{**values, "state_dir": Path(values["state_dir"])})


class Reporter:
    """Tells the outer process, and keeps running.json, what the tree does."""

    def __init__(self, order: Order, state: MarketState, ports: dict[str, int], control: socket.socket) -> None:
        self._order, self._state, self._control = order, state, control
        self._ports = ports
        self._ready: MarketFacts | None = None
        self._started_at = time.time()
        self.supervisor: Supervisor | None = None

    def say(self, line: str) -> None:
        self.tell("say", line)

    def tell(self, kind: str, value: object) -> None:
        """A person who has stopped reading must not stop the market: what does not fit is dropped."""
        with suppress(OSError):
            self._control.send(json.dumps({kind: value}, ensure_ascii=False).encode())

    def changed(self) -> None:
        """A full disk loses the picture of the tree, not the tree."""
        assert self.supervisor is not None
        just_ready = self._ready is None and self.supervisor.all_ready
        if just_ready:
            self._ready = self._facts()
        with suppress(OSError):
            self._state.write_running(self._picture(self.supervisor.children()))
        # Told last: who hears it may look.
        if just_ready and self._ready is not None:
            self.tell("ready", self._ready.to_json())

    def _facts(self) -> MarketFacts:
        return MarketFacts(
            state_dir=self._order.state_dir,
            pid=self._order.outer_pid,
            public_url=url_of(self._ports["api"]),
            storage_url=url_of(self._ports["storage"]),
            rpc_url=url_of(self._ports["chain"]),
            isolation=self._order.isolation,
            elapsed_seconds=round(time.monotonic() - self._order.started, 3),
        )

    def _picture(self, children: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pid": self._order.outer_pid,
            "supervisor_pid": os.getpid(),
            "isolation": self._order.isolation,
            "started_at": self._started_at,
            "ports": self._ports,
            "facts": self._ready.to_json() if self._ready is not None else None,
            "children": children,
        }


def main(argument: str) -> int:
    """Supervise until told to stop; 1 if a child could not be kept alive."""
    order = Order.from_json(argument)
    control = socket.socket(fileno=order.control_fd)
    control.setblocking(False)
    if os.getpid() != 1:
        adopt_orphans()
    state = MarketState.locate(order.state_dir)
    ports = state.choose_ports()
    reporter = Reporter(order, state, ports, control)
    try:
        tree = _builder(order.tree)(state, ports, with_agent=order.with_agent)
    except (EmbeddedServerError, subprocess.SubprocessError, OSError) as error:
        reporter.tell("failed", str(error))
        return 1
    supervisor = reporter.supervisor = Supervisor(tree, state.logs, reporter.say, reporter.changed)
    failure = asyncio.run(_supervise(supervisor, control))
    if os.getpid() != 1:
        _sweep()
    if failure is not None:
        reporter.tell("failed", failure)
    return 1 if failure is not None else 0


async def _supervise(supervisor: Supervisor, control: socket.socket) -> str | None:
    loop = asyncio.get_running_loop()

    def heard() -> None:
        # An order to stop, or nobody there any more.
        loop.remove_reader(control)
        supervisor.request_stop()

    loop.add_reader(control, heard)
    return await supervisor.run()


def _builder(name: str) -> TreeBuilder:
    module, _, function = name.partition(":")
    builder: TreeBuilder = getattr(importlib.import_module(module), function)
    return builder


def _sweep() -> None:
    """Without a namespace of its own: end what the children left behind, which this process has inherited."""
    for _ in range(SWEEP_ROUNDS_MAX):
        orphans = children_of(os.getpid())
        if not orphans:
            return
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        time.sleep(SWEEP_PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
