"""The market's offers."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from market.customer_api import PAGE_MAX, OfferView, Page
from market.measured import AT_LEAST_MAX, Measure
from market.resources import Unit
from portal_api import customer_jobs
from portal_api.identity.principals import SignedInMember
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.supply.offers import OfferOrder

router = APIRouter(route_class=StrictRoute, prefix="/v1/offers", tags=["offers"])


@router.get("")
async def search_offers(
    portal: PortalDep,
    member: SignedInMember,
    *,
    gpu: Annotated[str | None, Query(max_length=80, description="H100, H100:80GB:2, 24GB.., A100:1g.5gb")] = None,
    max_price: Annotated[str | None, Query(max_length=20, description="USDC for one unit and hour")] = None,
    unit: Unit | None = None,
    simulated: Annotated[bool | None, Query(description="only simulated ones, or only real ones")] = None,
    verified: Annotated[bool, Query(description="only of nodes that have proven that they compute")] = False,
    at_least: Annotated[
        list[Annotated[str, Field(max_length=60)]],
        Query(
            max_length=AT_LEAST_MAX,
            description=f"measured at that a second, or more: {', '.join(Measure)}; "
            "matrix=200T, pcie_to_device=20GB, network_down=100Mbit",
        ),
    ] = [],  # noqa: B006
    sort: Annotated[OfferOrder, Query(description="price of a unit and hour, or of measured work")] = OfferOrder.PRICE,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_MAX,
) -> Page[OfferView]:
    """Offers of nodes that are heard now, the cheapest first, free or not."""
    found = await customer_jobs.search_offers(
        portal,
        member.organization_id,
        gpu=gpu,
        max_price=max_price,
        unit=unit,
        simulated=simulated,
        verified=verified,
        at_least=at_least,
        order=sort,
        limit=limit,
    )
    return Page(items=found)
