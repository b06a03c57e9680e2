"""Prices of CPUs, memory and disk beside the units: what offers ask, and what the price of a lease was made of."""

import sqlalchemy as sa
from alembic import op

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None

_PRICES = ('cpu_microusd_per_hour', 'memory_microusd_per_gib_hour', 'disk_microusd_per_gib_hour')
_MADE = (
    'unit_microusd_per_hour', 'cpu_milli', 'cpu_microusd_per_hour', 'memory_bytes', 'memory_microusd_per_gib_hour',
    'disk_bytes', 'disk_microusd_per_gib_hour', 'bid_microusd_per_unit_hour',
)
_REFUSE = "billing_refuse_change('what the price of a lease was made of never changes')"


def upgrade() -> None:
    # What stands from before asks nothing beside its units; a portal of the version before may still add rows.
    for price in _PRICES:
        op.add_column('offers', sa.Column(price, sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.create_check_constraint(
        op.f('ck_offers_components'), 'offers',
        f"{' AND '.join(f'{price} >= 0' for price in _PRICES)} AND (unit = 'gpu' OR cpu_microusd_per_hour = 0)",
    )
    _create('lease_components', 'attempt_id', 'attempts.id')
    _create('metered_components', 'lease_id', 'metered_leases.lease_id')
    for name, when in (('immutable', 'UPDATE OR DELETE'), ('kept', 'TRUNCATE')):
        level = 'STATEMENT' if when == 'TRUNCATE' else 'ROW'
        op.execute(
            f'CREATE TRIGGER metered_components_{name} BEFORE {when} ON metered_components FOR EACH {level} '
            f'EXECUTE FUNCTION {_REFUSE}'
        )


def downgrade() -> None:
    op.drop_table('metered_components')
    op.drop_table('lease_components')
    op.drop_constraint(op.f('ck_offers_components'), 'offers', type_='check')
    for price in _PRICES:
        op.drop_column('offers', price)


def _create(table: str, key: str, of: str) -> None:
    op.create_table(
        table,
        sa.Column(key, sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _MADE),
        sa.ForeignKeyConstraint([key], [of], name=op.f(f'fk_{table}_{key}')),
        sa.PrimaryKeyConstraint(key, name=op.f(f'pk_{table}')),
    )
