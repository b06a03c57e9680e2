"""The operators' GraphQL: the market's reports, as REST tells them. A schema of its own, so that customers see none."""

from datetime import datetime
from typing import Annotated

import strawberry
from starlette.requests import HTTPConnection
from strawberry.types import Info

from market import customer_api
from monitoring.measures import Dimension, Report, Row
from portal_api import operator_reports
from portal_api.graphql.context import GraphContext
from portal_api.graphql.documents import CheckedDocuments
from portal_api.graphql.refusals import Refusals
from portal_api.graphql.schema import GridbaySchema
from portal_api.graphql.types import CONFIG, BigInt, Money
from portal_api.identity.principals import of_kind
from portal_api.identity.tokens import TokenKind
from portal_api.portal import Portal

GraphDimension = strawberry.enum(Dimension, name="Dimension")


class OperatorContext(GraphContext):
    """As a customer's, of an operator's credential."""

    async def admit(self) -> None:
        of_kind(await self.portal.credentials.of_header(self.authorization), TokenKind.OPERATOR)


async def operator_context_of(connection: HTTPConnection) -> OperatorContext:
    """The context of a request; a websocket shows its credential at connection_init. Raises Unauthenticated."""
    portal: Portal = connection.app.state.portal
    context = OperatorContext(portal, connection.headers.get("authorization"))
    if connection.scope["type"] == "http":
        await context.admit()
    return context


@strawberry.input
class Range:
    """since: a week before `until` if it is not given, which is now if that is not; simulated: of test data alone."""

    since: datetime | None = None
    until: datetime | None = None
    simulated: bool = False


@strawberry.type
class Keys:
    """What a row is of; null for what the report is not broken down by."""

    hour: str | None
    day: str | None
    model: str | None
    provider: str | None
    organization: str | None

    @classmethod
    def of(cls, row: Row) -> "Keys":
        return cls(**{dimension.value: row.get(dimension.value) for dimension in Dimension})


@strawberry.type
class GmvRow:
    """take_rate_ppm: fee of gmv in millionths, rounded half to even."""

    keys: Keys
    usage_lines: BigInt
    gmv: Money
    provider: Money
    fee: Money
    rounding: Money
    take_rate_ppm: int | None


@strawberry.type
class UtilizationRow:
    """Time in milliseconds of one GPU or one CPU."""

    keys: Keys
    unit: str
    leased_unit_ms: BigInt
    offered_unit_ms: BigInt
    utilization_ppm: BigInt | None


@strawberry.type
class QueueWaitRow:
    keys: Keys
    jobs: BigInt
    wait_p50_ms: BigInt
    wait_p90_ms: BigInt
    wait_p99_ms: BigInt
    wait_max_ms: BigInt


@strawberry.type
class OutcomeRow:
    """reason: one of the closed list, such as "failed:exit_code"."""

    keys: Keys
    reason: str
    jobs: BigInt


Graph = Info[OperatorContext, None]
By = Annotated[list[Annotated[Dimension, GraphDimension]], strawberry.argument(description="what to break it down by")]


async def _rows(info: Graph, report: Report, over: Range | None, by: list[Dimension]) -> list[Row]:
    await info.context.admit()
    asked = over or Range()
    told = await operator_reports.answer(
        info.context.portal, report, since=asked.since, until=asked.until, by=by, simulated=asked.simulated
    )
    return told.rows


async def gmv(info: Graph, by: By, over: Range | None = None) -> list[GmvRow]:
    return [
        GmvRow(
            keys=Keys.of(row),
            usage_lines=row["usage_lines"],
            gmv=_money(row["gmv_microusd"]),
            provider=_money(row["provider_microusd"]),
            fee=_money(row["fee_microusd"]),
            rounding=_money(row["rounding_microusd"]),
            take_rate_ppm=row["take_rate_ppm"],
        )
        for row in await _rows(info, Report.GMV, over, by)
    ]


async def utilization(info: Graph, by: By, over: Range | None = None) -> list[UtilizationRow]:
    return [
        UtilizationRow(keys=Keys.of(row), **_figures(row, by))
        for row in await _rows(info, Report.UTILIZATION, over, by)
    ]


async def queue_wait(info: Graph, by: By, over: Range | None = None) -> list[QueueWaitRow]:
    return [
        QueueWaitRow(keys=Keys.of(row), **_figures(row, by)) for row in await _rows(info, Report.QUEUE_WAIT, over, by)
    ]


async def outcomes(info: Graph, by: By, over: Range | None = None) -> list[OutcomeRow]:
    return [OutcomeRow(keys=Keys.of(row), **_figures(row, by)) for row in await _rows(info, Report.OUTCOMES, over, by)]


@strawberry.type
class OperatorQuery:
    gmv: list[GmvRow] = strawberry.field(
        resolver=gmv, description="Money of usage lines: gross, and whose it is; by when they were captured."
    )
    utilization: list[UtilizationRow] = strawberry.field(
        resolver=utilization, description="Leased time of offered time."
    )
    queue_wait: list[QueueWaitRow] = strawberry.field(
        resolver=queue_wait, description="From a job's submission to its first placement; by when it was placed."
    )
    outcomes: list[OutcomeRow] = strawberry.field(
        resolver=outcomes, description="How jobs ended, by final reason; by when they ended."
    )


def create_operator_schema() -> GridbaySchema:
    return GridbaySchema(OperatorQuery, config=CONFIG, extensions=[CheckedDocuments, Refusals])


def _money(microusd: int) -> Money:
    return Money.of(customer_api.Money.of(microusd))


def _figures(row: Row, by: list[Dimension]) -> Row:
    return {name: value for name, value in row.items() if name not in set(by)}
