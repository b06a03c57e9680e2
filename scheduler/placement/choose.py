"""The choice as one function of its arguments."""

from collections.abc import Sequence

from scheduler.placement.decisions import Choice, Decision, Unplaced
from scheduler.placement.engine import Engine
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot

__all__ = ["Choice", "Decision", "Unplaced", "choose"]


def choose(snapshot: Snapshot, requests: Sequence[Request], seed: str, recent: Sequence[Request] = ()) -> Choice:
    """Place requests in their order, as an engine does that has seen nothing before."""
    return Engine().choose(snapshot, requests, seed, recent)
