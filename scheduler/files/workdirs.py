"""Working directories: archives that an organization sends once and names by the hash of their bytes."""

from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.storage import Storage
from market.customer_api import WORKDIR_MAX_BYTES
from market.errors import InvalidInput, NotFound, TooLarge
from scheduler.tables import Workdir


def declare(
    session: Session, storage: Storage, organization_id: str, sha256: str, size_bytes: int, now: datetime
) -> str | None:
    """Announce an archive; returns the storage key to upload it to, or None when it is there already.

    The node that unpacks it checks the hash. Raises TooLarge.
    """
    if size_bytes > WORKDIR_MAX_BYTES:
        raise TooLarge(
            f"the working directory's archive has {size_bytes} bytes, {WORKDIR_MAX_BYTES} at most",
            remedy="leave large data out of it",
        )
    known = session.get(Workdir, (organization_id, sha256), populate_existing=True)
    stored = storage.size(key(organization_id, sha256))
    if known is not None and stored is not None and stored == known.size_bytes == size_bytes:
        return None
    row = insert(Workdir).values(organization_id=organization_id, sha256=sha256, size_bytes=size_bytes, declared_at=now)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["organization_id", "sha256"],
            set_={"size_bytes": row.excluded.size_bytes, "declared_at": row.excluded.declared_at},
        )
    )
    return None if stored == size_bytes else key(organization_id, sha256)


def key(organization_id: str, sha256: str) -> str:
    """Where an archive lies in storage; an organization never reaches another's."""
    return f"workdirs/{organization_id}/{sha256}"


def require(session: Session, storage: Storage, organization_id: str, sha256: str, now: datetime) -> None:
    """Raises NotFound for an archive that was never announced, InvalidInput for one that is not there whole."""
    known = session.get(Workdir, (organization_id, sha256), populate_existing=True)
    if known is None:
        raise NotFound(
            f"there is no working directory {sha256}", remedy="announce it first (POST /v1/workdirs) and upload it"
        )
    stored = storage.size(key(organization_id, sha256))
    if stored != known.size_bytes:
        raise InvalidInput(
            f"of the working directory {sha256} {stored or 0} of {known.size_bytes} bytes have arrived",
            remedy="upload the archive to the URL that POST /v1/workdirs gives, then submit again",
        )
