"""What an agent's long poll reads and writes: the node's sign of life, its desired state, what billing has safely."""

import time
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from billing.metering import usage
from infra.ground import Ground
from market.agent_api import ORDERS_A_POLL_MAX, DesiredAttempt
from market.errors import MarketError, NotFound
from portal_api import agent_orders
from scheduler.supply import nodes
from scheduler.supply.nodes import Heartbeat
from scheduler.work import desired
from scheduler.work.desired import NodeDesire

HEARTBEAT_SECONDS = 2.0
NODES_REMEMBERED_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a node's desired state. heartbeat: to be written first, when one is due.

    seen_version: the one the agent has; last: the agent is answered now, whatever the version is; streams: those it
    asks about; known: the attempts that need no order, None where orders are asked for one by one.
    """

    node_id: str
    heartbeat: Heartbeat | None
    seen_version: int
    last: bool
    streams: Sequence[str] = ()
    known: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Desire:
    version: int
    attempts: list[DesiredAttempt]
    durable_through: dict[str, int]


class PollBatches:
    """The work of a batch of polls: one statement for all heartbeats, one for all nodes, one for what is durable.

    The outcome is None for a poll that has nothing new to hear.
    """

    def __init__(self, base: Ground) -> None:
        self._base = base

    def __call__(self, polls: list[Poll]) -> Sequence[Desire | MarketError | None]:
        now = self._base.clock.now()
        beats = sorted((poll.heartbeat for poll in polls if poll.heartbeat), key=lambda beat: beat.node_id)
        begin = self._base.database.transaction if beats else self._base.database.read
        with begin() as session:
            nodes.heartbeat(session, beats, now)
            desires = desired.desired_state(session, {poll.node_id for poll in polls}, now)
            news = [desires.get(poll.node_id) if _hears(poll, desires) else None for poll in polls]
            unknown = _unknown(zip(polls, news, strict=True))
            # What is to begin is waited for; the next answer says what is durable.
            told = (poll for poll, desire in zip(polls, news, strict=True) if desire and not unknown.get(poll.node_id))
            durable = usage.durable_through(session, {poll.node_id: poll.streams for poll in told})
            orders = agent_orders.without_secrets(session, self._base, unknown, now)
        for desire in filter(None, news) if orders else ():
            desire.attempts[:] = [
                attempt.model_copy(update={"order": orders.get(attempt.attempt_id)}) for attempt in desire.attempts
            ]
        return [_outcome(poll, desires, desire, durable) for poll, desire in zip(polls, news, strict=True)]


def _hears(poll: Poll, desires: Mapping[str, NodeDesire]) -> bool:
    """Whether there is news for a poll, or it is answered whatever there is."""
    desire = desires.get(poll.node_id)
    return desire is not None and (poll.last or desire.version != poll.seen_version)


def _unknown(news: Iterable[tuple[Poll, NodeDesire | None]]) -> dict[str, list[str]]:
    """By node, the attempts that its agent hears of for the first time, no more than fit into an answer."""
    unknown: dict[str, list[str]] = {}
    for poll, desire in news:
        if desire is not None and poll.known is not None:
            known = {*poll.known}
            fresh = (item.attempt_id for item in desire.attempts if item.attempt_id not in known)
            unknown[poll.node_id] = list(islice(fresh, ORDERS_A_POLL_MAX))
    return unknown


def _outcome(
    poll: Poll, known: Container[str], desire: NodeDesire | None, durable: Mapping[str, dict[str, int]]
) -> Desire | MarketError | None:
    if poll.node_id not in known:
        return NotFound("this node is not known here")
    return None if desire is None else Desire(desire.version, desire.attempts, durable.get(poll.node_id, {}))


class HeartbeatPace:
    """Lets a node's heartbeat through every couple of seconds, and at once when what it says has changed."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._written: OrderedDict[str, tuple[float, Heartbeat]] = OrderedDict()

    def due(self, heartbeat: Heartbeat) -> Heartbeat | None:
        now = self._monotonic()
        last = self._written.get(heartbeat.node_id)
        if last is not None and last[1] == heartbeat and now - last[0] < HEARTBEAT_SECONDS:
            return None
        self._written[heartbeat.node_id] = (now, heartbeat)
        self._written.move_to_end(heartbeat.node_id)
        if len(self._written) > NODES_REMEMBERED_MAX:
            self._written.popitem(last=False)
        return heartbeat
