"""A job's explanation in GraphQL's words."""

from datetime import datetime

import strawberry

from market.explanation_api import ChangeView, ExplanationView, PlaceView, SpotView
from market.states import JobState
from portal_api.graphql.types import Money


@strawberry.type
class RemovedOffers:
    """A rule, and how many of the offers that the rules before it had left it removed."""

    rule: str
    offers: int
    words: str


@strawberry.type
class AskingInstead:
    field: str
    asked: str
    instead: str


@strawberry.type
class MatchingChange:
    """The smallest change, of all its parts at once, with which so many offers would match."""

    parts: list[AskingInstead]
    offers: int
    words: str

    @classmethod
    def of(cls, view: ChangeView) -> "MatchingChange":
        parts = [AskingInstead(**part.model_dump()) for part in view.parts]
        return cls(parts=parts, offers=view.offers, words=view.words)


@strawberry.type
class JobPlace:
    attempt_number: int
    node_id: strawberry.ID
    node_name: str
    provider_id: strawberry.ID
    price_per_unit_hour: Money

    @classmethod
    def of(cls, view: PlaceView) -> "JobPlace":
        return cls(
            attempt_number=view.attempt_number,
            node_id=strawberry.ID(view.node_id),
            node_name=view.node_name,
            provider_id=strawberry.ID(view.provider_id),
            price_per_unit_hour=Money.of(view.price_per_unit_hour),
        )


@strawberry.type
class SpotBid:
    """How a spot job's bid fares: what it stands for, how often it made room for what pays more, and why it lost."""

    bid: Money
    asked: Money | None
    reclaimed: int
    reclaimed_at: datetime | None
    outbid_by: Money | None
    lowest_bid: Money | None
    words: str

    @classmethod
    def of(cls, view: SpotView) -> "SpotBid":
        return cls(
            bid=Money.of(view.bid),
            asked=Money.of(view.asked) if view.asked else None,
            reclaimed=view.reclaimed,
            reclaimed_at=view.reclaimed_at,
            outbid_by=Money.of(view.outbid_by) if view.outbid_by else None,
            lowest_bid=Money.of(view.lowest_bid) if view.lowest_bid else None,
            words=view.words,
        )


@strawberry.type
class JobExplanation:
    """Of a waiting job, by what is free now; of another, by what offers are, free or not."""

    job_id: strawberry.ID
    state: JobState
    reason: str
    detail: str
    offers: int
    matching: int
    removed: list[RemovedOffers]
    changes: list[MatchingChange]
    passed_since: datetime | None
    held_nodes: int
    place: JobPlace | None
    explanation: str
    spot: SpotBid | None

    @classmethod
    def of(cls, view: ExplanationView) -> "JobExplanation":
        return cls(
            job_id=strawberry.ID(view.job_id),
            state=view.state,
            reason=view.reason.value,
            detail=view.detail,
            offers=view.offers,
            matching=view.matching,
            removed=[RemovedOffers(**removed.model_dump()) for removed in view.removed],
            changes=[MatchingChange.of(change) for change in view.changes],
            passed_since=view.passed_since,
            held_nodes=view.held_nodes,
            place=JobPlace.of(view.place) if view.place else None,
            explanation=view.explanation,
            spot=SpotBid.of(view.spot) if view.spot else None,
        )
