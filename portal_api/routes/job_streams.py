"""Following jobs by server-sent events: the log, and the states."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from market.customer_api import Once
from portal_api.identity.principals import JobReader
from portal_api.job_streams import StillAllowed, await_job, follow_job, follow_log, place_after
from portal_api.portal import Portal, PortalDep
from portal_api.streams import EVENT_STREAM, Begun, EventStream
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/logs", response_class=EventStream, responses=EVENT_STREAM)
async def follow_logs(
    portal: PortalDep,
    request: Request,
    member: JobReader,
    *,
    job_id: str,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
    follow: Annotated[bool, Query(description="wait for more until the job is over")] = True,
) -> EventStream:
    """The job's log as events `log` (LogLine), then `end` (JobView). Send Last-Event-ID to go on where you were."""
    place = place_after(last_event_id)
    portal.streams.admit(member.organization_id)
    frames = follow_log(
        portal, member.organization_id, job_id, place, allowed=_still_allowed(portal, request), wait=follow
    )
    return EventStream(await Begun.of(portal.streams.counted(member.organization_id, frames)))


@router.get("/{job_id}/events", response_class=EventStream, responses=EVENT_STREAM)
async def follow_states(
    portal: PortalDep,
    request: Request,
    member: JobReader,
    *,
    job_id: str,
    once: Annotated[Once | None, Query(description="say nothing before the job is so far, and nothing after")] = None,
) -> EventStream:
    """The job as an event `job` (JobView), now and at every change, until it is over and billed."""
    portal.streams.admit(member.organization_id)
    allowed = _still_allowed(portal, request)
    frames = (
        follow_job(portal, member.organization_id, job_id, allowed=allowed)
        if once is None
        else await_job(portal, member.organization_id, job_id, allowed=allowed, once=once)
    )
    return EventStream(await Begun.of(portal.streams.counted(member.organization_id, frames)))


def _still_allowed(portal: Portal, request: Request) -> StillAllowed:
    """A stream outlives the check at its beginning: a token that is revoked meanwhile ends it."""
    authorization = request.headers.get("authorization")
    return lambda: portal.credentials.of_header(authorization)
