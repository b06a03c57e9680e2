"""Working directories: announced by hash, uploaded to the storage by a signed URL."""

from fastapi import APIRouter

from market.customer_api import WorkdirAnswer, WorkdirRequest
from portal_api.identity.principals import JobWriter
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.files import workdirs

router = APIRouter(route_class=StrictRoute, prefix="/v1/workdirs", tags=["jobs"])


@router.post("")
async def declare_workdir(portal: PortalDep, member: JobWriter, request: WorkdirRequest) -> WorkdirAnswer:
    """Announce an archive; the answer says where to PUT it, or that it is there already."""
    now, storage = portal.now(), portal.base.storage
    key = await portal.threads.transact(
        lambda session: workdirs.declare(
            session, storage, member.organization_id, request.sha256, request.size_bytes, now
        )
    )
    url = storage.upload_url(key, size_bytes=request.size_bytes, now=now) if key is not None else None
    return WorkdirAnswer(sha256=request.sha256, upload_url=url)
