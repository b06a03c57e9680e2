"""Customers' secrets: sealed at rest, listed by name, opened only for the order of an attempt that asked for them."""

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.secrets import SecretBox
from market.agent_api import Secret
from market.errors import Conflict, FieldError, InvalidInput, NotFound
from portal_api.identity.tables import CustomerSecret

SECRETS_PER_ORGANIZATION_MAX = 200
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")


def put(session: Session, box: SecretBox, organization_id: str, *, name: str, value: str, now: datetime) -> None:
    """Store a secret under a name, in place of what was there."""
    if _NAME.fullmatch(name) is None:
        detail = "a secret's name becomes an environment variable: letters, digits and _, not beginning with a digit"
        raise InvalidInput(detail, errors=[FieldError("", detail, "wrong_name", source="path", parameter="name")])
    others = CustomerSecret.organization_id == organization_id, CustomerSecret.name != name
    if (session.scalar(select(func.count()).where(*others)) or 0) >= SECRETS_PER_ORGANIZATION_MAX:
        raise Conflict(f"there are {SECRETS_PER_ORGANIZATION_MAX} secrets already", remedy="delete one first")
    sealed = box.seal(value, _context(organization_id, name))
    row = {"organization_id": organization_id, "name": name, "sealed": sealed, "updated_at": now}
    statement = insert(CustomerSecret).values(row)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["organization_id", "name"], set_={"sealed": sealed, "updated_at": now}
        )
    )


def names(session: Session, organization_id: str) -> list[str]:
    """The names of an organization's secrets, sorted."""
    of_organization = select(CustomerSecret.name).where(CustomerSecret.organization_id == organization_id)
    return list(session.scalars(of_organization.order_by(CustomerSecret.name).limit(SECRETS_PER_ORGANIZATION_MAX)))


def remove(session: Session, organization_id: str, name: str) -> None:
    """Forget a secret. Raises NotFound."""
    gone = session.execute(
        delete(CustomerSecret)
        .where(CustomerSecret.organization_id == organization_id, CustomerSecret.name == name)
        .returning(CustomerSecret.name)
    )
    if gone.scalar() is None:
        raise NotFound("there is no secret of that name here")


def require(session: Session, organization_id: str, wanted: Sequence[str]) -> None:
    """Raise InvalidInput, with a pointer for each, when a job names secrets that are not stored."""
    if not wanted:
        return
    known = set(names(session, organization_id))
    missing = [
        FieldError(f"/secrets/{place}", f"there is no secret {name}; store it with `gridbay secrets set {name}`")
        for place, name in enumerate(wanted)
        if name not in known
    ]
    if missing:
        raise InvalidInput(missing[0].detail, errors=missing)


def opened(session: Session, box: SecretBox, organization_id: str, wanted: Sequence[str]) -> list[Secret]:
    """The secrets in clear, for the one who runs the attempt. Raises Conflict when one is gone meanwhile."""
    if not wanted:
        return []
    of_organization = CustomerSecret.organization_id == organization_id
    rows = session.execute(
        select(CustomerSecret.name, CustomerSecret.sealed).where(of_organization, CustomerSecret.name.in_(wanted))
    )
    sealed = {row.name: row.sealed for row in rows}
    missing = [name for name in wanted if name not in sealed]
    if missing:
        raise Conflict(f"the secret {missing[0]} was deleted after the job was submitted")
    return [Secret(name=name, value=box.open(sealed[name], _context(organization_id, name))) for name in wanted]


def _context(organization_id: str, name: str) -> str:
    return f"customer-secret/{organization_id}/{name}"
