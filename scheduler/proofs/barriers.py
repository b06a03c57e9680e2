"""Who is challenged at one barrier: a card that stands for several answers each of them at its share of the rate.

Pure. Eight cards at once draw kilowatts: above the circuit limit that the owner declared, the barrier is staggered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN_WATTS = 350
TOGETHER_MIN = 2
"""Two at least run at once, whatever the limit: alone at its turn, one card could be all of them."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A device that is to be challenged. watts: its enforced power limit; None where it does not tell."""

    node_id: str
    device: str
    watts: int | None


def groups(contenders: Sequence[Contender], circuit_watts: int | None) -> list[list[Contender]]:
    """The contenders, in the order they are given, in groups that stay under the limit.

    Shuffled by the caller, so that over time everyone stands beside everyone.
    """
    found: list[list[Contender]] = []
    drawn = 0
    for contender in contenders:
        watts = contender.watts if contender.watts is not None else UNKNOWN_WATTS
        over = circuit_watts is not None and drawn + watts > circuit_watts
        if not found or (over and len(found[-1]) >= TOGETHER_MIN):
            found.append([])
            drawn = 0
        found[-1].append(contender)
        drawn += watts
    if len(found) > 1 and len(found[-1]) < TOGETHER_MIN:
        # The last one alone takes a partner along from the group before it, or joins it.
        before = found[-2]
        if len(before) > TOGETHER_MIN:
            found[-1].insert(0, before.pop())
        else:
            before.extend(found.pop())
    return found
