"""Discounts: what organizations pay less, frozen with the terms of each lease and on its lines."""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None

_LEASE = (
    'lease_id', 'job_id', 'organization_id', 'provider_id', 'node_id', 'unit', 'quantity_milli',
    'price_microusd_per_unit_hour', 'fee_basis_points',
)
_LINE = (
    'id', 'window_id', 'lease_id', 'window_number', 'job_id', 'attempt_number', 'organization_id', 'provider_id', 'unit',
    'quantity_milli', 'price_microusd_per_unit_hour', 'fee_basis_points',
)
_AMOUNTS = (
    'from_ms', 'to_ms', 'charged_before_microusd', 'amount_microusd', 'provider_microusd', 'fee_microusd',
    'rounding_microusd', 'capped', 'captured_at',
)


def upgrade() -> None:
    op.create_table('organization_discounts',
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('discount_basis_points', sa.BigInteger(), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('discount_basis_points BETWEEN 1 AND 9999', name=op.f('ck_organization_discounts_discount')),
    sa.PrimaryKeyConstraint('organization_id', name=op.f('pk_organization_discounts'))
    )
    for table in ('metered_leases', 'usage_lines'):
        # What is there began without one, and its lines keep their bytes.
        op.add_column(table, sa.Column('discount_basis_points', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
        op.create_check_constraint(
            op.f(f'ck_{table}_discount'), table, 'discount_basis_points BETWEEN 0 AND fee_basis_points'
        )
    _freeze(('discount_basis_points',))


def downgrade() -> None:
    _freeze(())
    for table in ('metered_leases', 'usage_lines'):
        op.drop_column(table, 'discount_basis_points')
    op.drop_table('organization_discounts')


def _freeze(added: tuple[str, ...]) -> None:
    counters = 'NEW.metered_ms < OLD.metered_ms OR NEW.charged_microusd < OLD.charged_microusd'
    for name, table, when, why in (
        (
            'metered_leases_frozen', 'metered_leases', f"{_differs(*_LEASE, *added, 'granted_at')} OR {counters}",
            'price, fee and parties of a lease are frozen, its counters only grow',
        ),
        (
            'usage_lines_frozen', 'usage_lines', f'OLD.epoch IS NOT NULL OR {_differs(*_LINE, *added, *_AMOUNTS)}',
            'a usage line never changes',
        ),
    ):
        op.execute(
            f'CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({when}) '
            f"EXECUTE FUNCTION billing_refuse_change('{why}')"
        )


def _differs(*columns: str) -> str:
    return ' OR '.join(f'OLD.{column} IS DISTINCT FROM NEW.{column}' for column in columns)
