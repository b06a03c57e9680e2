"""Closed epochs as anybody may read them, to recompute them offline (docs/formats/epoch.md)."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from billing.settling import publication
from market.epochs import EpochLines, PublishedEpoch
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

EPOCH_MAX = 2**31 - 1
LEAF_MAX = 10**9

router = APIRouter(route_class=StrictRoute, prefix="/v1/epochs", tags=["epochs"])
Number = Annotated[int, Path(ge=1, le=EPOCH_MAX)]


@router.get("/{epoch}/published")
async def get_published_epoch(portal: PortalDep, epoch: Number) -> PublishedEpoch:
    """A closed epoch's root, and where it is anchored. Needs no credential: it is public."""
    return await portal.threads.read(lambda session: publication.epoch(session, epoch))


@router.get("/{epoch}/published/lines")
async def list_published_lines(
    portal: PortalDep,
    epoch: Number,
    start: Annotated[int, Query(ge=0, le=LEAF_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=publication.LINES_MAX)] = publication.LINES_MAX,
) -> EpochLines:
    """Its lines from that leaf on, under the epoch's pseudonyms, with their salts. Needs no credential."""
    return await portal.threads.read(lambda session: publication.lines(session, epoch, start, limit))
