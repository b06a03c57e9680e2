"""A job's explanation as it is answered."""

from market.customer_api import Money
from market.errors import NotFound
from market.explanation_api import AskingView, ChangeView, ExplanationView, PlaceView, RemovedView, SpotView
from market.ids import is_id
from market.money import format_usdc
from market.states import JobState
from portal_api.portal import Portal
from scheduler.placement.explain import Change
from scheduler.placement.rules import NAMED
from scheduler.rounds.explaining import JobExplanation, SpotStanding, explain_job


async def explain(portal: Portal, organization_id: str, job_id: str) -> ExplanationView:
    """Raises NotFound, for a job of somebody else as for none."""
    if not is_id(job_id, "job"):
        raise NotFound("there is no such job here")
    now = portal.now()
    return await portal.threads.read(lambda session: _view(explain_job(session, organization_id, job_id, now)))


def _view(told: JobExplanation) -> ExplanationView:
    job, found = told.job, told.explanation
    return ExplanationView(
        job_id=job.id,
        state=job.state,
        reason=job.reason,
        detail=job.detail,
        offers=found.offers,
        matching=found.matching,
        removed=[
            RemovedView(rule=name, offers=offers, words=NAMED[name].removes) for name, offers in found.removed.items()
        ],
        changes=[_change(change) for change in found.changes],
        passed_since=told.passed_since,
        held_nodes=told.held_nodes,
        place=_place(told),
        explanation=str(found),
        spot=_spot(told, told.spot) if told.spot else None,
    )


def _spot(told: JobExplanation, fares: SpotStanding) -> SpotView:
    return SpotView(
        bid=Money.of(fares.bid),
        asked=_money(fares.asked),
        reclaimed=fares.reclaimed,
        reclaimed_at=fares.reclaimed_at,
        outbid_by=_money(fares.outbid_by),
        lowest_bid=_money(fares.lowest_bid),
        words=_why_it_lost(told, fares),
    )


def _why_it_lost(told: JobExplanation, fares: SpotStanding) -> str:
    """Empty while it runs unharmed."""
    said = []
    if fares.reclaimed_at is not None:
        by = f"a bid of {format_usdc(fares.outbid_by)} USDC" if fares.outbid_by else "a job at the posted price"
        said.append(f"it made room {fares.reclaimed} time(s), last for {by}")
    if told.job.state is JobState.QUEUED and not told.explanation.matching:
        lowest = fares.lowest_bid
        if lowest is not None and lowest >= fares.bid:
            said.append(f"what it may have runs other bids, the lowest {format_usdc(lowest)} USDC: bid more than that")
        elif lowest is not None:
            said.append("lower bids make room for it")
        elif any(not NAMED[rule].standing for rule in told.explanation.removed):
            said.append("what it may have is taken by jobs that nothing interrupts")
    return "; ".join(said)


def _money(microusd: int | None) -> Money | None:
    return None if microusd is None else Money.of(microusd)


def _change(change: Change) -> ChangeView:
    parts = [AskingView(field=field, asked=asked, instead=instead) for field, asked, instead in change.parts]
    return ChangeView(parts=parts, offers=change.offers, words=str(change))


def _place(told: JobExplanation) -> PlaceView | None:
    if told.attempt is None or told.node is None:
        return None
    return PlaceView(
        attempt_number=told.attempt.number,
        node_id=told.node.id,
        node_name=told.node.name,
        provider_id=told.attempt.provider_id,
        price_per_unit_hour=Money.of(told.attempt.price_microusd_per_unit_hour),
    )
