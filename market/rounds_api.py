"""Rounds of placement on record, as operators see them."""

from datetime import datetime
from typing import Any

from market.customer_api import View


class RoundView(View):
    """asked: requests it looked at. digest: over its body and the record before it in its chain."""

    round_id: str
    chain_id: str
    number: int
    decided_at: datetime
    asked: int
    placed: int
    digest: str
    size_bytes: int


class RoundList(View):
    items: list[RoundView]


class ReplayView(View):
    """sound: no record of its chain up to it was changed or is missing. agrees: that, and it comes to the same again.
    recorded and again hold what differs: [job, member, offer, GPUs, price] or, of one that waits, [job, waiting helps].
    same_rules: the code that decides it again decided it; where it did not, it need not come to the same.
    """

    round: RoundView
    seed: str
    offers: int
    sound: bool
    agrees: bool
    recorded: list[list[Any]]
    again: list[list[Any]]
    same_rules: bool = True
