"""The priority fee of a transaction: what the chain asks now, more at each signing, never above the cap. Pure."""

from collections.abc import Sequence
from typing import Final

from infra.settings import Settings

MICROLAMPORTS: Final = 1_000_000
DOUBLINGS_MAX: Final = 10


def unit_price(recent: Sequence[int], units: int, signings: int, config: Settings) -> int:
    """Micro-lamports per compute unit. recent: what recent blocks took; signings: how often it was signed before.

    Three quarters of the recent blocks would have taken it; each signing that expired doubles it. Over `units` it
    comes to priority_fee_lamports_min at least and to priority_fee_lamports_max at most, which wins.
    """
    usual = sorted(recent)[len(recent) * 3 // 4] if recent else 0
    floor = config.priority_fee_lamports_min * MICROLAMPORTS // units
    cap = config.priority_fee_lamports_max * MICROLAMPORTS // units
    return min(max(usual, floor) << min(signings, DOUBLINGS_MAX), cap)
