"""What runs on a state folder now, seen from outside of its namespace; for `gridbay doctor`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridbay.standalone.children import ChildState
from gridbay.standalone.facts import MarketFacts
from gridbay.standalone.process_table import Process, descendants, memory_bytes, processes
from gridbay.standalone.state import MarketState


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """pid: as this process sees it, None if it does not run; memory_bytes: PSS of it and its descendants."""

    name: str
    state: ChildState
    pid: int | None
    exit_code: int | None
    restarts: int
    started_at: float | None
    ready_after_seconds: float | None
    memory_bytes: int
    log_file: Path


@dataclass(frozen=True, slots=True)
class MarketStatus:
    """pid: of the outer process, None if no market runs there; facts: None until every child was ready.

    memory_bytes: PSS of the whole tree, also of what belongs to no child any more.
    """

    state_dir: Path
    pid: int | None
    started_at: float | None
    isolation: str
    ports: Mapping[str, int]
    facts: MarketFacts | None
    children: tuple[ChildStatus, ...]
    memory_bytes: int

    @property
    def running(self) -> bool:
        return self.pid is not None

    @property
    def ready(self) -> bool:
        return self.facts is not None


def status(state_dir: Path | None = None, *, with_memory: bool = False) -> MarketStatus:
    """Look at a state folder without touching it. Measuring memory takes some ten milliseconds."""
    state = MarketState.locate(state_dir)
    pid = state.holder()
    picture = state.read_running() if pid is not None else {}
    table = processes() if pid is not None else {}
    tree = descendants(pid, table) if pid is not None else []
    outside = _pids_outside(tree, picture.get("supervisor_pid", 0))
    facts = picture.get("facts")
    return MarketStatus(
        state_dir=state.root,
        pid=pid,
        started_at=picture.get("started_at"),
        isolation=picture.get("isolation", ""),
        ports=picture.get("ports", {}),
        facts=MarketFacts.from_json(facts) if facts else None,
        children=tuple(
            _child(value, state, outside, table, with_memory=with_memory) for value in picture.get("children", ())
        ),
        memory_bytes=sum(memory_bytes(process.pid) for process in tree) if with_memory else 0,
    )


def _pids_outside(tree: list[Process], supervisor_pid: int) -> dict[int, int]:
    """From the pids that the supervisor sees to those that we see.

    Nearest in the tree first, the supervisor is the first process that knows itself by that pid; who is in the same
    namespace has as many pids as it has.
    """
    depths = [len(process.namespace_pids) for process in tree if process.namespace_pids[-1] == supervisor_pid]
    if not depths:
        return {}
    return {p.namespace_pids[-1]: p.pid for p in tree if len(p.namespace_pids) == depths[0]}


def _child(
    value: Mapping[str, Any],
    state: MarketState,
    outside: Mapping[int, int],
    table: dict[int, Process],
    *,
    with_memory: bool,
) -> ChildStatus:
    pid = outside.get(value["pid"]) if value["pid"] is not None else None
    memory = sum(memory_bytes(p.pid) for p in descendants(pid, table)) if with_memory and pid is not None else 0
    return ChildStatus(
        name=value["name"],
        state=ChildState(value["state"]),
        pid=pid,
        exit_code=value["exit_code"],
        restarts=value["restarts"],
        started_at=value["started_at"],
        ready_after_seconds=value["ready_after_seconds"],
        memory_bytes=memory,
        log_file=state.logs / f"{value['name']}.log",
    )
