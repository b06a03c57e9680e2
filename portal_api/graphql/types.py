"""The GraphQL types: the same views as REST, in GraphQL's words."""

from datetime import datetime
from typing import Annotated, NewType

import strawberry
from strawberry.relay import PageInfo
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from market import customer_api
from market.customer_api import AttemptView, ComponentPricesView, ComponentsView, JobView, OfferView, Page
from market.errors import InvalidInput
from market.resources import Unit
from market.states import AttemptState, JobState, Reason
from scheduler.supply.offers import OfferOrder

BigInt = NewType("BigInt", int)
_INTEGER_MAX = 2**53 - 1


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _INTEGER_MAX:
        raise InvalidInput("a BigInt is a whole number of at most 53 bits")
    return value


CONFIG = StrawberryConfig(
    relay_max_results=customer_api.PAGE_MAX,
    scalar_map={
        BigInt: strawberry.scalar(
            name="BigInt",
            description="A whole number of at most 53 bits; GraphQL's own Int has 32.",
            serialize=int,
            parse_value=_integer,
        )
    },
)

GraphUnit = strawberry.enum(Unit, name="Unit")
GraphOfferOrder = strawberry.enum(OfferOrder, name="OfferOrder")
GraphJobState = strawberry.enum(JobState, name="JobState")
GraphAttemptState = strawberry.enum(AttemptState, name="AttemptState")


@strawberry.type
class Money:
    usdc: str
    microusd: BigInt

    @classmethod
    def of(cls, money: customer_api.Money) -> "Money":
        return cls(usdc=money.usdc, microusd=BigInt(money.microusd))


@strawberry.type
class MeasuredFigure:
    """kind: such as network_down_bytes_per_second."""

    kind: str
    value: BigInt


@strawberry.type
class ComponentPrices:
    """What an offer asks for an hour of what a job takes beside its units."""

    cpu_per_hour: Money
    memory_per_gib_hour: Money
    disk_per_gib_hour: Money

    @classmethod
    def of(cls, view: ComponentPricesView) -> "ComponentPrices":
        return cls(**{name: Money.of(getattr(view, name)) for name in ComponentPricesView.model_fields})


@strawberry.type
class Components:
    """What a price of a unit and hour was made of."""

    unit_per_hour: Money
    cpu_milli: int
    cpu_per_hour: Money
    memory_bytes: BigInt
    memory_per_gib_hour: Money
    disk_bytes: BigInt
    disk_per_gib_hour: Money
    bid_per_unit_hour: Money | None

    @classmethod
    def of(cls, view: ComponentsView) -> "Components":
        return cls(
            unit_per_hour=Money.of(view.unit_per_hour),
            cpu_milli=view.cpu_milli,
            cpu_per_hour=Money.of(view.cpu_per_hour),
            memory_bytes=BigInt(view.memory_bytes),
            memory_per_gib_hour=Money.of(view.memory_per_gib_hour),
            disk_bytes=BigInt(view.disk_bytes),
            disk_per_gib_hour=Money.of(view.disk_per_gib_hour),
            bid_per_unit_hour=Money.of(view.bid_per_unit_hour) if view.bid_per_unit_hour is not None else None,
        )


@strawberry.type
class Offer:
    offer_id: strawberry.ID
    node_id: strawberry.ID
    node_name: str
    provider_id: strawberry.ID
    unit: Annotated[Unit, GraphUnit]
    model: str
    memory_bytes: BigInt
    total_milli: int
    free_milli: int
    cpu_free_milli: int
    memory_free_bytes: BigInt
    price_per_unit_hour: Money
    simulated: bool
    verified: bool
    measured: list[MeasuredFigure]
    work_price: Money | None
    discount_basis_points: int
    components: ComponentPrices | None
    unit_price_per_hour: Money | None

    @classmethod
    def of(cls, view: OfferView) -> "Offer":
        return cls(
            offer_id=strawberry.ID(view.offer_id),
            node_id=strawberry.ID(view.node_id),
            node_name=view.node_name,
            provider_id=strawberry.ID(view.provider_id),
            unit=view.unit,
            model=view.model,
            memory_bytes=BigInt(view.memory_bytes),
            total_milli=view.total_milli,
            free_milli=view.free_milli,
            cpu_free_milli=view.cpu_free_milli,
            memory_free_bytes=BigInt(view.memory_free_bytes),
            price_per_unit_hour=Money.of(view.price_per_unit_hour),
            simulated=view.simulated,
            verified=view.verified,
            measured=[MeasuredFigure(kind=kind, value=BigInt(value)) for kind, value in view.measured.items()],
            work_price=Money.of(view.work_price) if view.work_price is not None else None,
            discount_basis_points=view.discount_basis_points,
            components=ComponentPrices.of(view.components) if view.components is not None else None,
            unit_price_per_hour=Money.of(view.unit_price_per_hour) if view.unit_price_per_hour is not None else None,
        )


@strawberry.type
class Attempt:
    attempt_id: strawberry.ID
    number: int
    state: AttemptState
    reason: str
    detail: str
    node_id: strawberry.ID
    node_name: str
    provider_id: strawberry.ID
    price_per_unit_hour: Money
    exit_code: int | None
    placed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    components: Components | None

    @classmethod
    def of(cls, view: AttemptView) -> "Attempt":
        return cls(
            attempt_id=strawberry.ID(view.attempt_id),
            number=view.number,
            state=view.state,
            reason=view.reason.value,
            detail=view.detail,
            node_id=strawberry.ID(view.node_id),
            node_name=view.node_name,
            provider_id=strawberry.ID(view.provider_id),
            price_per_unit_hour=Money.of(view.price_per_unit_hour),
            exit_code=view.exit_code,
            placed_at=view.placed_at,
            started_at=view.started_at,
            ended_at=view.ended_at,
            components=Components.of(view.components) if view.components is not None else None,
        )


@strawberry.type
class Job:
    """reason: one of the closed list, such as "failed:exit_code"."""

    job_id: strawberry.ID
    name: str
    state: JobState
    reason: str
    detail: str
    exit_code: int | None
    unit: Unit
    quantity_milli: int
    attempts: list[Attempt]
    cost: Money
    held: Money
    billed: bool
    spec: JSON
    version: BigInt
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    run_ms: BigInt
    credited: Money

    @classmethod
    def of(cls, view: JobView) -> "Job":
        return cls(
            job_id=strawberry.ID(view.job_id),
            name=view.name,
            state=view.state,
            reason=Reason(view.reason).value,
            detail=view.detail,
            exit_code=view.exit_code,
            unit=view.unit,
            quantity_milli=view.quantity_milli,
            attempts=[Attempt.of(attempt) for attempt in view.attempts],
            cost=Money.of(view.cost),
            held=Money.of(view.held),
            billed=view.billed,
            spec=JSON(view.spec),
            version=BigInt(view.version),
            created_at=view.created_at,
            started_at=view.started_at,
            ended_at=view.ended_at,
            run_ms=BigInt(view.run_ms),
            credited=Money.of(view.credited),
        )


@strawberry.type
class JobEdge:
    cursor: str
    node: Job


@strawberry.type
class JobConnection:
    """A page of jobs, newest first; go on with `after: pageInfo.endCursor`."""

    edges: list[JobEdge]
    page_info: PageInfo

    @classmethod
    def of(cls, page: Page[JobView], cursors: list[str], after: str | None) -> "JobConnection":
        edges = [JobEdge(cursor=cursor, node=Job.of(view)) for cursor, view in zip(cursors, page.items, strict=True)]
        return cls(
            edges=edges,
            page_info=PageInfo(
                has_next_page=page.next_cursor is not None,
                has_previous_page=after is not None,
                start_cursor=cursors[0] if cursors else None,
                end_cursor=cursors[-1] if cursors else None,
            ),
        )


@strawberry.input
class SubmitJobInput:
    """spec: job.yaml as JSON. idempotency_key: fresh for each intent, the same for its retries."""

    spec: JSON
    idempotency_key: str
    workdir_sha256: str | None = None


@strawberry.type
class SubmitJobPayload:
    """replayed: this key's job was submitted before."""

    job: Job
    replayed: bool


@strawberry.type
class StopJobPayload:
    job: Job
