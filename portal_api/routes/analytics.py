"""Operators: the market's reports, each by hour, day, model, provider or organization, and its metrics."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from monitoring.measures import Dimension, Report
from portal_api import operator_reports
from portal_api.identity.principals import SignedInOperator
from portal_api.portal import PortalDep

router = APIRouter(prefix="/ops/v1", tags=["operator"])


class ReportView(BaseModel):
    """rows: by column, in the columns' order; null where a ratio or percentile is of nothing.

    Money is in micro-USDC, time in milliseconds, ratios in millionths (ppm); all of them whole numbers.
    """

    report: Report
    since: datetime
    until: datetime
    by: list[Dimension]
    simulated: bool
    columns: list[str]
    rows: list[dict[str, Any]]


@router.get("/analytics/{report}")
async def get_report(
    portal: PortalDep,
    _: SignedInOperator,
    report: Report,
    since: Annotated[datetime | None, Query(description="RFC 3339; a week before `until` if not given")] = None,
    until: Annotated[datetime | None, Query(description="RFC 3339; now if not given")] = None,
    by: Annotated[list[Dimension], Query(max_length=4, description="what to break it down by")] = [],  # noqa: B006
    simulated: Annotated[bool, Query(description="of simulated nodes alone, instead of none of them")] = False,
) -> ReportView:
    """One report over [since, until)."""
    told = await operator_reports.answer(portal, report, since=since, until=until, by=by, simulated=simulated)
    asked = told.question
    return ReportView(
        report=asked.report,
        since=asked.since,
        until=asked.until,
        by=list(asked.by),
        simulated=asked.simulated,
        columns=list(asked.columns),
        rows=told.rows,
    )


@router.get("/metrics", response_class=Response)
async def get_metrics(portal: PortalDep, _: SignedInOperator) -> Response:
    """The portal's counters and the market's gauges, for Prometheus with an operator's token."""
    return Response(await portal.metrics.exposition(portal.threads, portal.now()), media_type=CONTENT_TYPE_LATEST)
