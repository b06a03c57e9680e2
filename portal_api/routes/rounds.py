"""Operators: the rounds of placement on record, and any of them decided again."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from market.rounds_api import ReplayView, RoundList, RoundView
from portal_api.identity.principals import SignedInOperator
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.rounds import records
from scheduler.tables import PlacementRound

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1/rounds", tags=["operator"])
ID_MAX_CHARACTERS = 40


@router.get("")
async def list_rounds(
    portal: PortalDep,
    _: SignedInOperator,
    limit: Annotated[int, Query(ge=1, le=records.LIST_MAX)] = 50,
    before: Annotated[str | None, Query(max_length=ID_MAX_CHARACTERS)] = None,
) -> RoundList:
    """The newest rounds on record, newest first; before: the id of the last one of the page before."""
    return await portal.threads.read(
        lambda session: RoundList(items=[_view(one) for one in records.recorded(session, limit, before)])
    )


@router.get("/{round_id}/replay")
async def replay_round(
    portal: PortalDep, _: SignedInOperator, round_id: Annotated[str, Path(max_length=ID_MAX_CHARACTERS)]
) -> ReplayView:
    """Decide a recorded round again, by an engine that has seen nothing before, and compare."""

    def replayed(verdict: records.Verdict) -> ReplayView:
        recorded, again = verdict.replayed.recorded, verdict.replayed.again
        return ReplayView(
            round=_view(verdict.round),
            seed=verdict.replayed.seed,
            offers=verdict.replayed.offers,
            sound=verdict.sound,
            agrees=verdict.agrees,
            recorded=[one for one in recorded if one not in again],
            same_rules=verdict.replayed.same_rules,
            again=[one for one in again if one not in recorded],
        )

    return await portal.threads.read(lambda session: replayed(records.replay(session, round_id)))


def _view(one: PlacementRound) -> RoundView:
    return RoundView(
        round_id=one.id,
        chain_id=one.chain_id,
        number=one.number,
        decided_at=one.decided_at,
        asked=one.asked,
        placed=one.placed,
        digest=one.digest,
        size_bytes=one.size_bytes,
    )
