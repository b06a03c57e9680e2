"""The GraphQL schema: offers, jobs, submitting and stopping one, following one."""

from collections.abc import AsyncGenerator
from typing import Annotated

import strawberry
from graphql import GraphQLError
from pydantic import ValidationError
from strawberry.types import ExecutionContext, Info

from market.customer_api import PAGE_MAX, JobView, SubmitRequest
from market.errors import FieldError
from market.faults import faults_of
from market.resources import Unit
from portal_api import customer_jobs, explanations, job_streams
from portal_api.graphql.context import GraphContext
from portal_api.graphql.documents import CheckedDocuments
from portal_api.graphql.explanations import JobExplanation
from portal_api.graphql.refusals import Refusals, log_faults
from portal_api.graphql.types import (
    CONFIG,
    GraphOfferOrder,
    Job,
    JobConnection,
    Offer,
    StopJobPayload,
    SubmitJobInput,
    SubmitJobPayload,
)
from portal_api.identity.idempotency import KEY_MAX_CHARACTERS
from portal_api.identity.tokens import Scope
from portal_api.pages import cursor_of, place_of
from portal_api.problems import refusal_at
from scheduler.supply.offers import OfferOrder

OFFERS_MAX = 100
Graph = Info[GraphContext, None]
First = Annotated[int, strawberry.argument(description="how many at most")]


@strawberry.input
class OfferFilter:
    """gpu: H100, H100:80GB:2, 24GB..; max_price: USDC for one unit and hour, such as "0.42".

    at_least: measured at that a second, or more: "matrix=200T", "pcie_to_device=20GB", "network_down=100Mbit".
    """

    gpu: str | None = None
    max_price: str | None = None
    unit: Unit | None = None
    simulated: bool | None = None
    verified: bool = False
    at_least: list[str] = strawberry.field(default_factory=list)
    sort: Annotated[OfferOrder, GraphOfferOrder] = OfferOrder.PRICE


async def offers(info: Graph, where: OfferFilter | None = None, first: First = OFFERS_MAX) -> list[Offer]:
    member = await info.context.member()
    wanted = where or OfferFilter()
    found = await customer_jobs.search_offers(
        info.context.portal,
        member.organization_id,
        gpu=wanted.gpu,
        max_price=wanted.max_price,
        unit=wanted.unit,
        simulated=wanted.simulated,
        verified=wanted.verified,
        at_least=wanted.at_least,
        order=wanted.sort,
        limit=_bounded(first, OFFERS_MAX),
    )
    return [Offer.of(offer) for offer in found]


async def jobs(info: Graph, first: First = 50, after: str | None = None) -> JobConnection:
    member = await info.context.member(Scope.JOBS_READ)
    page = await customer_jobs.page(
        info.context.portal, member.organization_id, limit=_bounded(first, PAGE_MAX), before=place_of(after)
    )
    cursors = [cursor_of((view.created_at, view.job_id)) for view in page.items]
    return JobConnection.of(page, cursors, after)


async def job(info: Graph, job_id: strawberry.ID) -> Job:
    member = await info.context.member(Scope.JOBS_READ)
    return Job.of(await customer_jobs.get(info.context.portal, member.organization_id, job_id))


async def explain_job(info: Graph, job_id: strawberry.ID) -> JobExplanation:
    member = await info.context.member(Scope.JOBS_READ)
    return JobExplanation.of(await explanations.explain(info.context.portal, member.organization_id, job_id))


async def submit_job(info: Graph, input: SubmitJobInput) -> SubmitJobPayload:
    member = await info.context.member(Scope.JOBS_WRITE)
    if not 1 <= len(input.idempotency_key) <= KEY_MAX_CHARACTERS:
        detail = f"it has 1 to {KEY_MAX_CHARACTERS} characters; send a fresh text for each intent"
        raise refusal_at([FieldError("/variables/input/idempotencyKey", detail, "out_of_range")])
    answer = await customer_jobs.submit(
        info.context.portal, member.organization_id, input.idempotency_key, _request(input)
    )
    return SubmitJobPayload(job=Job.of(JobView.model_validate(answer.body)), replayed=answer.replayed)


async def stop_job(info: Graph, job_id: strawberry.ID) -> StopJobPayload:
    member = await info.context.member(Scope.JOBS_WRITE)
    return StopJobPayload(job=Job.of(await customer_jobs.stop(info.context.portal, member.organization_id, job_id)))


async def job_changed(info: Graph, job_id: strawberry.ID) -> AsyncGenerator[Job, None]:
    context = info.context
    member = await context.member(Scope.JOBS_READ)
    context.portal.streams.admit(member.organization_id)
    changes = job_streams.changes(context.portal, member.organization_id, job_id, allowed=context.member)
    async for view in context.portal.streams.counted(member.organization_id, changes):
        yield Job.of(view)


@strawberry.type
class Query:
    offers: list[Offer] = strawberry.field(
        resolver=offers, description="Offers of nodes that are heard now, cheapest first."
    )
    jobs: JobConnection = strawberry.field(resolver=jobs, description="The organization's jobs, newest first.")
    job: Job = strawberry.field(resolver=job, description="One job.")
    explanation: JobExplanation = strawberry.field(
        resolver=explain_job, description="Why a job waits, or stands where it stands, and what would match."
    )


@strawberry.type
class Mutation:
    submit_job: SubmitJobPayload = strawberry.mutation(
        resolver=submit_job, description="Submit a job, exactly once for each key."
    )
    stop_job: StopJobPayload = strawberry.mutation(resolver=stop_job, description="Ask for a job's end.")


@strawberry.type
class Subscription:
    job_changed: AsyncGenerator[Job, None] = strawberry.subscription(
        resolver=job_changed, description="A job, now and at every change, until it is over and billed."
    )


class GridbaySchema(strawberry.Schema):
    """Logs faults of ours only, so that nobody fills the log with documents that are refused."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        log_faults(errors)


def create_schema() -> GridbaySchema:
    return GridbaySchema(Query, Mutation, Subscription, config=CONFIG, extensions=[CheckedDocuments, Refusals])


def _bounded(first: int, most: int) -> int:
    if not 1 <= first <= most:
        raise refusal_at([FieldError("", f"it lies between 1 and {most}", "out_of_range", parameter="first")])
    return first


def _request(given: SubmitJobInput) -> SubmitRequest:
    try:
        return SubmitRequest.model_validate({"spec": given.spec, "workdir_sha256": given.workdir_sha256})
    except ValidationError as error:
        raise refusal_at(list(faults_of(SubmitRequest, error.errors(include_url=False)))) from None
