"""What an agent's long poll reads and writes: the node's sign of life, its desired state, what billing has safely."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from billing import usage
from infra.ground import Ground
from market.agent_api import DesiredAttempt
from market.errors import MarketError, NotFound
from scheduler import desired, nodes
from scheduler.nodes import Heartbeat

HEARTBEAT_SECONDS = 2.0
NODES_REMEMBERED_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at a node's desired state. heartbeat: to be written first, when one is due.

    seen_version: the one the agent has; last: the agent is answered now, whatever the version is.
    """

    node_id: str
    heartbeat: Heartbeat | None
    seen_version: int
    last: bool


@dataclass(frozen=True, slots=True)
class Desire:
    version: int
    attempts: list[DesiredAttempt]
    durable_through: dict[str, int]


class PollBatches:
    """The work of a batch of polls: one statement for all heartbeats, one for all versions, the rest where it changed.

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
            versions = desired.versions(session, {poll.node_id for poll in polls})
            told = {
                poll.node_id
                for poll in polls
                if poll.last or versions.get(poll.node_id, poll.seen_version) != poll.seen_version
            }
            desires = {
                node_id: Desire(desire.version, desire.attempts, usage.durable_through(session, node_id))
                for node_id, desire in desired.desired_state(session, told, now).items()
            }
        return [
            desires.get(poll.node_id) if poll.node_id in versions else NotFound("this node is not known here")
            for poll in polls
        ]


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
