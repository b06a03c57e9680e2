"""Whether this worker can serve: its database answers. The cache may be away; that only slows wake-ups down."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import text

from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, tags=["health"])


class Health(BaseModel):
    """wake_ups: `told` through the cache, or `polled` while that is away."""

    status: Literal["ok"]
    wake_ups: Literal["told", "polled"]


@router.get("/health")
async def get_health(portal: PortalDep) -> Health:
    """Answers 200 when requests can be served, 503 when the database is away."""
    await portal.threads.read(lambda session: session.execute(text("SELECT 1")).scalar_one())
    return Health(status="ok", wake_ups="told" if portal.topics.connected else "polled")
