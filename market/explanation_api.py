"""Why a job waits, or stands where it stands: the answer as REST, GraphQL, SDK and CLI show it."""

from datetime import datetime

from market.customer_api import Money, View
from market.states import JobState, Reason


class RemovedView(View):
    """A rule, and how many of the offers that the rules before it had left it removed."""

    rule: str
    offers: int
    words: str


class AskingView(View):
    """A field of the job, what it asks, and what it could ask instead."""

    field: str
    asked: str
    instead: str


class ChangeView(View):
    """The smallest change, of all its parts at once, with which so many offers would match."""

    parts: list[AskingView]
    offers: int
    words: str


class PlaceView(View):
    """Where the newest attempt stands, at the price it was placed at."""

    attempt_number: int
    node_id: str
    node_name: str
    provider_id: str
    price_per_unit_hour: Money


class SpotView(View):
    """How a spot job's bid fares. asked: what the offer asked that it stands on, where it pays its bid or less.
    reclaimed: how often it made room for what pays more, last at reclaimed_at for the bid outbid_by, or, where that is
    not said, for a job at the posted price. lowest_bid: of what runs where this job might. words: why the bid lost."""

    bid: Money
    asked: Money | None
    reclaimed: int
    reclaimed_at: datetime | None
    outbid_by: Money | None
    lowest_bid: Money | None
    words: str


class ExplanationView(View):
    """Of a waiting job, by what is free now; of another, by what offers are, free or not.

    removed: in the rules' order; with `matching` they add up to `offers`. changes: where none matches. passed_since:
    since when others are placed before it that came later; held_nodes: on how many nodes places are held for it.
    """

    job_id: str
    state: JobState
    reason: Reason
    detail: str
    offers: int
    matching: int
    removed: list[RemovedView]
    changes: list[ChangeView]
    passed_since: datetime | None
    held_nodes: int
    place: PlaceView | None
    explanation: str
    spot: SpotView | None = None
