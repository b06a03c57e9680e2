"""Judging silence: which nodes are lost, and when nobody is because the fault is more likely our own. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

BRAKE_NODES_MIN = 3
"""With fewer nodes online, half of them falling silent says nothing."""
BRAKE_MAX = timedelta(minutes=15)
"""Nodes that stay silent together for longer than this are believed to be gone."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """When the sweep last ran, since when it has run without a gap, and since when the brake holds."""

    swept_at: datetime
    resumed_at: datetime
    braked_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is lost now, and the pulse to remember."""

    lost: frozenset[str]
    pulse: Pulse


def judge(
    last_seen: Mapping[str, datetime],
    pulse: Pulse | None,
    now: datetime,
    listened_at: datetime | None,
    *,
    silent_after: timedelta,
    brake_share: float,
) -> Verdict:
    """Which of the online nodes are lost. listened_at: when the portal last took polls, from whomever (None: never).

    Nobody is lost while the portal does not listen: who could have been heard? Nor while more than brake_share of the
    nodes are silent together (the brake): the portal or the network is then the likelier culprit. Half of silent_after
    is silence enough to count for the brake, because nodes do not fall silent at the same instant. After a deaf portal,
    a brake, a start or a pause of the sweep itself every node has silent_after to be heard again.
    """
    if listened_at is None or now - listened_at > silent_after / 2:
        return Verdict(frozenset(), Pulse(now, now, None))
    paused = pulse is None or now - pulse.swept_at > silent_after / 2
    resumed_at = now if pulse is None or paused else pulse.resumed_at
    doubtful = sum(now - seen > silent_after / 2 for seen in last_seen.values())
    if len(last_seen) >= BRAKE_NODES_MIN and doubtful > brake_share * len(last_seen):
        since = now if pulse is None or paused or pulse.braked_since is None else pulse.braked_since
        if now - since <= BRAKE_MAX:
            return Verdict(frozenset(), Pulse(now, now, since))
        lost = frozenset(node for node, seen in last_seen.items() if now - seen > silent_after)
        return Verdict(lost, Pulse(now, resumed_at, since))
    lost = frozenset(node for node, seen in last_seen.items() if now - max(seen, resumed_at) > silent_after)
    return Verdict(lost, Pulse(now, resumed_at, None))
