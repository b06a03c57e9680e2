"""What a child of the market is: how it is started, when it is ready, what it needs, how it is stopped."""

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from infra.embedded.probe import Probe


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the tree.

    needs: names of children that must have been ready once before this one starts; probe: asked until it is ready;
    steady_seconds: without a probe, it is ready once it has lived that long; one_shot: runs to its end, and is ready by
    ending with 0; restart: it may be killed at any moment and started again; sweep: what is left of its process group
    is killed when it dies (not where its own children are meant to outlive it).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    needs: tuple[str, ...] = ()
    probe: Probe | None = field(default=None, repr=False)
    steady_seconds: float = 0.0
    one_shot: bool = False
    restart: bool = True
    sweep: bool = True
    ready_seconds: float = 120.0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Tree:
    """The children of a market, and the secrets of their environments that must never be shown."""

    children: tuple[Child, ...]
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        check_order(self.children)


class ChildState(StrEnum):
    """waiting (for what it needs) → starting → ready or done (a one-shot) → died → starting …; stopped at the end."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DONE = "done"
    DIED = "died"
    STOPPED = "stopped"


def check_order(children: Iterable[Child]) -> None:
    """Raises ValueError unless names are unique and every need is an earlier child, so that there is no circle."""
    seen: set[str] = set()
    for child in children:
        if child.name in seen:
            raise ValueError(f"two children are called {child.name}")
        missing = set(child.needs) - seen
        if missing:
            raise ValueError(f"{child.name} needs {', '.join(sorted(missing))}, which no earlier child is called")
        seen.add(child.name)
