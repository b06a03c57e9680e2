"""What the prices of leases were made of: frozen when billing hears of a lease, and published with its lines."""

from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.tables.metering import MeteredComponentsRow
from infra.bulk import insert_rows
from infra.statements import among
from market.components import Components

FIELDS = tuple(Components.model_fields)


def freeze(session: Session, made: Mapping[str, Components]) -> None:
    """By lease; its row is written in the same transaction."""
    rows = [{"lease_id": lease_id, **components.model_dump()} for lease_id, components in made.items()]
    insert_rows(session, MeteredComponentsRow, rows)


def of_leases(session: Session, lease_ids: Collection[str]) -> dict[str, Components]:
    """By lease; those whose price is the unit's own alone are left out."""
    rows = session.scalars(select(MeteredComponentsRow).where(among(MeteredComponentsRow.lease_id, lease_ids)))
    return {row.lease_id: Components(**{name: getattr(row, name) for name in FIELDS}) for row in rows}
