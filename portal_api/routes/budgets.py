"""A customer's budgets, and what its organization is told of its money."""

from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from billing.charging import alerts, budgets
from billing.charging.alerts import MoneyEvent, Watch
from billing.charging.budgets import Budget, Period
from market.customer_api import PAGE_MAX, Money, Page
from market.errors import NotFound
from market.funds_api import BudgetList, BudgetRequest, BudgetView, MoneyEventView, MoneyWatchRequest, MoneyWatchView
from market.ids import is_id
from portal_api.identity.principals import BillReader, Payer
from portal_api.pages import CURSOR_MAX_CHARACTERS, cursor_of, place_of
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["money"])


@router.get("/budgets")
async def list_budgets(portal: PortalDep, member: BillReader) -> BudgetList:
    """The organization's budgets, and what of each is used in its present period."""
    now = portal.now()
    found = await portal.threads.read(lambda session: budgets.listed(session, member.organization_id, now))
    return BudgetList(items=[_budget(item) for item in found])


@router.put("/budgets")
async def put_budget(portal: PortalDep, member: Payer, request: BudgetRequest) -> BudgetView:
    """Set a budget, or its limit anew: it binds from the next window on that a job is funded for."""
    now = portal.now()

    def put(session: Session) -> Budget:
        period = Period(request.period)
        return budgets.set_budget(session, member.organization_id, request.label, period, request.limit_microusd, now)

    return _budget(await portal.threads.transact(put))


@router.delete("/budgets/{budget_id}", status_code=204)
async def delete_budget(portal: PortalDep, member: Payer, budget_id: str) -> None:
    """Remove a budget: it binds no window any more."""
    if not is_id(budget_id, "bud"):
        raise NotFound("there is no such budget here")
    await portal.threads.transact(lambda session: budgets.remove_budget(session, member.organization_id, budget_id))


@router.get("/money/events")
async def list_money_events(
    portal: PortalDep,
    member: BillReader,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    cursor: Annotated[str | None, Query(max_length=CURSOR_MAX_CHARACTERS)] = None,
) -> Page[MoneyEventView]:
    """What the organization was told of its balance and its budgets, newest first, each once while it lasts."""
    before = place_of(cursor)
    found = await portal.threads.read(
        lambda session: alerts.events(session, member.organization_id, limit=limit + 1, before=before)
    )
    page = found[:limit]
    following = cursor_of((page[-1].told_at, page[-1].event_id)) if len(found) > limit else None
    return Page(items=[_event(item) for item in page], next_cursor=following)


@router.get("/money/watch")
async def get_money_watch(portal: PortalDep, member: BillReader) -> MoneyWatchView:
    """From when on the organization is told that its balance is low."""
    config = portal.base.settings
    return _watch(await portal.threads.read(lambda session: alerts.get_watch(session, member.organization_id, config)))


@router.put("/money/watch")
async def put_money_watch(portal: PortalDep, member: Payer, request: MoneyWatchRequest) -> MoneyWatchView:
    """Say from when on the organization is told that its balance is low."""
    wanted = Watch(request.low_microusd, request.forecast_hours)
    await portal.threads.transact(lambda session: alerts.set_watch(session, member.organization_id, wanted))
    return _watch(wanted)


def _budget(budget: Budget) -> BudgetView:
    return BudgetView(
        budget_id=budget.budget_id,
        label=budget.label,
        period=budget.period,
        limit=Money.of(budget.limit_microusd),
        used=Money.of(budget.used_microusd),
        left=Money.of(budget.left_microusd),
        starts_at=budget.starts_at,
        ends_at=budget.ends_at,
    )


def _watch(watch: Watch) -> MoneyWatchView:
    return MoneyWatchView(low=Money.of(watch.low_microusd), forecast_hours=watch.forecast_hours)


def _event(event: MoneyEvent) -> MoneyEventView:
    return MoneyEventView(
        event_id=event.event_id,
        kind=event.kind,
        subject=event.subject,
        detail=event.detail,
        told_at=event.told_at,
        over_at=event.over_at,
    )
