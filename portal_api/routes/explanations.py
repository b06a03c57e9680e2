"""Why a job waits, or stands where it stands."""

from fastapi import APIRouter

from market.explanation_api import ExplanationView
from portal_api import explanations
from portal_api.identity.principals import JobReader
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/explanation")
async def explain_job(portal: PortalDep, member: JobReader, job_id: str) -> ExplanationView:
    """What each rule removed, in order, and the smallest changes with which offers would match."""
    return await explanations.explain(portal, member.organization_id, job_id)
