"""Customers' jobs: plan, submit, read, stop; what they cost and left behind."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.responses import Response

from billing.charging import adjustments, bills
from billing.settling import receipts
from market.customer_api import PAGE_MAX, CostView, JobView, OutputView, Page, PlanView, SubmitRequest
from market.receipts import Receipt
from market.states import JobState
from portal_api import customer_jobs, job_views
from portal_api.identity.idempotency import IdempotencyKeyHeader
from portal_api.identity.principals import BillReader, JobReader, JobWriter
from portal_api.pages import CURSOR_MAX_CHARACTERS, place_of
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from portal_api.submissions import plan_job as make_plan
from scheduler.files import outputs
from scheduler.work import jobs

router = APIRouter(route_class=StrictRoute, prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=201, response_model=JobView)
async def submit_job(
    portal: PortalDep, member: JobWriter, request: SubmitRequest, key: IdempotencyKeyHeader
) -> Response:
    """Submit a job: its first window is held and it is queued, exactly once for each key."""
    answer = await customer_jobs.submit(portal, member.organization_id, key, request)
    return answer.response(f"/v1/jobs/{answer.body['job_id']}")


@router.post("/plan")
async def plan_job(portal: PortalDep, member: JobReader, request: SubmitRequest) -> PlanView:
    """What a job would get and cost at most; nothing is charged or stored."""
    return await portal.threads.read(lambda session: make_plan(session, portal.base, member.organization_id, request))


@router.get("")
async def list_jobs(
    portal: PortalDep,
    member: JobReader,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    cursor: Annotated[str | None, Query(max_length=CURSOR_MAX_CHARACTERS)] = None,
    state: Annotated[list[JobState] | None, Query(max_length=len(JobState))] = None,
) -> Page[JobView]:
    """The organization's jobs, newest first."""
    return await customer_jobs.page(
        portal, member.organization_id, limit=limit, before=place_of(cursor), states=state or ()
    )


@router.get("/{job_id}")
async def get_job(portal: PortalDep, member: JobReader, job_id: str) -> JobView:
    """One job as it is now."""
    return await customer_jobs.get(portal, member.organization_id, job_id)


@router.post("/{job_id}/stop")
async def stop_job(portal: PortalDep, member: JobWriter, job_id: str) -> JobView:
    """Ask for a job's end; asking twice is asking once. What it has used so far is charged."""
    return await customer_jobs.stop(portal, member.organization_id, job_id)


@router.get("/{job_id}/outputs")
async def list_outputs(portal: PortalDep, member: JobReader, job_id: str) -> list[OutputView]:
    """The files that the newest attempt kept, each with a signed URL that expires."""
    now, storage = portal.now(), portal.base.storage
    await customer_jobs.get(portal, member.organization_id, job_id)
    files = await portal.threads.read(lambda session: outputs.list_files(session, job_id))
    return [
        OutputView(
            path=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            url=storage.download_url(file.key, now=now, filename=file.path.rpartition("/")[2]),
        )
        for file in files
    ]


@router.get("/{job_id}/cost")
async def get_cost(portal: PortalDep, member: BillReader, job_id: str) -> CostView:
    """What a job has cost so far, line by line, what is held, and the most it can cost."""
    await customer_jobs.get(portal, member.organization_id, job_id)

    def read(session: Session) -> CostView:
        record = jobs.one(session, member.organization_id, job_id)
        cost = bills.costs(session, [job_id])[job_id]
        adjusted = adjustments.of_jobs(session, [job_id]) if cost.credited_microusd else []
        return job_views.cost_view(record, cost, bills.lines(session, job_id), adjusted)

    return await portal.threads.read(read)


@router.get("/{job_id}/receipt")
async def get_receipt(portal: PortalDep, member: BillReader, job_id: str) -> Receipt:
    """The proof of a job's bill, once its epoch is closed; anyone can check it without us."""
    await customer_jobs.get(portal, member.organization_id, job_id)
    return await portal.threads.read(lambda session: receipts.receipt(session, job_id))
