"""What REST and GraphQL both do with an organization's jobs and with offers."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from market.customer_api import JobView, OfferView, Page, SubmitRequest
from market.errors import FieldError, NotFound
from market.ids import is_id
from market.measured import Measure, UnknownMeasure, parse_at_least
from market.money import parse_usdc
from market.resources import GpuRequest, Unit, parse_gpu
from market.states import JobState
from portal_api import job_views
from portal_api.identity.idempotency import Answered
from portal_api.pages import Place, cursor_of
from portal_api.portal import JobRead, Portal, StateRead
from portal_api.problems import refusal_at
from portal_api.submissions import submission_of
from scheduler.rounds import discounts
from scheduler.supply import offers
from scheduler.supply.offers import OfferFilters, OfferOrder
from scheduler.work import jobs


async def get(portal: Portal, organization_id: str, job_id: str) -> JobView:
    """The organization's job. Raises NotFound, for a foreign job as for one that never was."""
    found = await portal.reads.submit(JobRead(organization_id, job_id)) if is_id(job_id, "job") else None
    if not isinstance(found, JobView):
        raise NotFound("there is no such job here")
    return found


async def state(portal: Portal, organization_id: str, job_id: str) -> JobState:
    """How far the organization's job is. Raises NotFound, as `get` does."""
    found = await portal.reads.submit(StateRead(organization_id, job_id)) if is_id(job_id, "job") else None
    if not isinstance(found, JobState):
        raise NotFound("there is no such job here")
    return found


async def submit(portal: Portal, organization_id: str, key: str, request: SubmitRequest) -> Answered:
    """Submit once for each key. Raises what keeps the job from being taken."""
    return await portal.submissions.submit(submission_of(organization_id, key, request))


async def stop(portal: Portal, organization_id: str, job_id: str) -> JobView:
    """Ask for a job's end. Raises NotFound."""
    await get(portal, organization_id, job_id)
    now = portal.now()
    await portal.threads.transact(lambda session: jobs.request_stop(session, organization_id, job_id, now))
    return await get(portal, organization_id, job_id)


async def page(
    portal: Portal, organization_id: str, *, limit: int, before: Place | None, states: Collection[JobState] = ()
) -> Page[JobView]:
    """An organization's jobs, newest first."""

    def read(session: Session) -> Page[JobView]:
        # One more than asked for says whether there is a next page.
        records = jobs.list_page(session, organization_id, limit=limit + 1, before=before, states=states)
        shown = records[:limit]
        views = list(job_views.of_records(session, shown).values())
        more = len(records) > limit
        return Page(items=views, next_cursor=cursor_of((shown[-1].created_at, shown[-1].job_id)) if more else None)

    return await portal.threads.read(read)


async def search_offers(
    portal: Portal,
    organization_id: str,
    *,
    gpu: str | None,
    max_price: str | None,
    unit: Unit | None,
    simulated: bool | None,
    verified: bool,
    at_least: Sequence[str],
    order: OfferOrder,
    limit: int,
) -> list[OfferView]:
    """Offers of nodes that are heard now, in that order, at what the organization pays.

    Raises InvalidInput for a text that is not understood.
    """
    filters = OfferFilters(unit, _gpu(gpu), _price(max_price), simulated, verified, _at_least(at_least))

    def read(session: Session) -> list[OfferView]:
        less = discounts.of(session, [organization_id], portal.base.settings).get(organization_id, 0)
        found = offers.search(session, replace(filters, discount_basis_points=less), limit, order)
        return [job_views.offer_view(offer, less) for offer in found]

    return await portal.threads.read(read)


def _gpu(text: str | None) -> GpuRequest | None:
    try:
        return parse_gpu(text) if text is not None else None
    except ValueError as error:
        raise refusal_at([FieldError("", str(error), source="query", parameter="gpu")]) from None


def _price(text: str | None) -> int | None:
    try:
        return parse_usdc(text) if text is not None else None
    except ValueError as error:
        raise refusal_at([FieldError("", str(error), source="query", parameter="max_price")]) from None


def _at_least(texts: Sequence[str]) -> dict[Measure, int]:
    try:
        return parse_at_least(texts)
    except ValueError as error:
        meant = error.meant if isinstance(error, UnknownMeasure) else ""
        raise refusal_at([FieldError("", str(error), suggestion=meant, source="query", parameter="at_least")]) from None
