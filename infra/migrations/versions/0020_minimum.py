"""A minimum charge: frozen with a lease, waived by an end that is not its customer's, and on the line that has it."""

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None

_LEASE = (
    'lease_id', 'job_id', 'organization_id', 'provider_id', 'node_id', 'unit', 'quantity_milli',
    'price_microusd_per_unit_hour', 'fee_basis_points', 'discount_basis_points', 'granted_at',
)
_LINE = (
    'id', 'window_id', 'lease_id', 'window_number', 'job_id', 'attempt_number', 'organization_id', 'provider_id', 'unit',
    'quantity_milli', 'price_microusd_per_unit_hour', 'fee_basis_points', 'discount_basis_points', 'from_ms', 'to_ms',
)
_AMOUNTS = (
    'charged_before_microusd', 'amount_microusd', 'provider_microusd', 'fee_microusd', 'rounding_microusd', 'capped',
    'captured_at',
)
_CHECKS = (
    ('metered_leases', 'counters', 'metered_ms >= 0 AND charged_microusd >= 0'),
    ('usage_lines', 'time', 'from_ms >= 0 AND to_ms >= from_ms'),
)


def upgrade() -> None:
    for table, name, condition in _CHECKS:
        op.add_column(table, sa.Column('minimum_ms', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
        _check(table, name, f'{condition} AND minimum_ms >= 0')
    _freeze(' OR NEW.minimum_ms > OLD.minimum_ms', ('minimum_ms',))


def downgrade() -> None:
    _freeze('', ())
    for table, name, condition in _CHECKS:
        _check(table, name, condition)
        op.drop_column(table, 'minimum_ms')


def _check(table: str, name: str, condition: str) -> None:
    op.drop_constraint(op.f(f'ck_{table}_{name}'), table, type_='check')
    op.create_check_constraint(op.f(f'ck_{table}_{name}'), table, condition)


def _freeze(grows: str, added: tuple[str, ...]) -> None:
    counters = f'NEW.metered_ms < OLD.metered_ms OR NEW.charged_microusd < OLD.charged_microusd{grows}'
    for name, table, when, why in (
        (
            'metered_leases_frozen', 'metered_leases', f'{_differs(*_LEASE)} OR {counters}',
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
