"""Adjustments: reversals that name the line they correct, and credits that follow from whose fault an end was."""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None

_KEPT = (
    'id', 'line_id', 'number', 'job_id', 'organization_id', 'provider_id', 'amount_microusd', 'provider_microusd',
    'fee_microusd', 'rounding_microusd', 'owed_microusd', 'borne_microusd', 'cause', 'reason', 'by', 'adjusted_at',
)


def upgrade() -> None:
    op.create_table('adjustments',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('line_id', sa.String(), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('provider_id', sa.String(), nullable=False),
    sa.Column('amount_microusd', sa.BigInteger(), nullable=False),
    sa.Column('provider_microusd', sa.BigInteger(), nullable=False),
    sa.Column('fee_microusd', sa.BigInteger(), nullable=False),
    sa.Column('rounding_microusd', sa.BigInteger(), nullable=False),
    sa.Column('owed_microusd', sa.BigInteger(), nullable=False),
    sa.Column('borne_microusd', sa.BigInteger(), nullable=False),
    sa.Column('recovered_microusd', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('cause', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('by', sa.String(), nullable=False),
    sa.Column('adjusted_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('amount_microusd > 0 AND number >= 1', name=op.f('ck_adjustments_amount')),
    sa.CheckConstraint('amount_microusd = provider_microusd + fee_microusd + rounding_microusd', name=op.f('ck_adjustments_split')),
    sa.CheckConstraint('provider_microusd >= 0 AND fee_microusd >= 0 AND rounding_microusd >= 0', name=op.f('ck_adjustments_shares')),
    sa.CheckConstraint(
        'owed_microusd >= 0 AND borne_microusd >= 0 AND owed_microusd + borne_microusd <= provider_microusd '
        'AND recovered_microusd BETWEEN 0 AND owed_microusd',
        name=op.f('ck_adjustments_owed'),
    ),
    sa.CheckConstraint("cause IN ('operator', 'provider', 'platform')", name=op.f('ck_adjustments_cause')),
    sa.ForeignKeyConstraint(['line_id'], ['usage_lines.id'], name=op.f('fk_adjustments_line_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_adjustments')),
    sa.UniqueConstraint('line_id', 'number', name=op.f('uq_adjustments_line_id_number'))
    )
    op.create_index('ix_adjustments_job_id', 'adjustments', ['job_id'], unique=False)
    op.create_index('ix_adjustments_owed', 'adjustments', ['provider_id', 'id'], unique=False, postgresql_where=sa.text('recovered_microusd < owed_microusd'))
    differs = ' OR '.join(f'OLD.{name} IS DISTINCT FROM NEW.{name}' for name in _KEPT)
    op.execute(
        'CREATE TRIGGER adjustments_frozen BEFORE UPDATE ON adjustments FOR EACH ROW '
        f'WHEN (NEW.recovered_microusd < OLD.recovered_microusd OR {differs}) '
        "EXECUTE FUNCTION billing_refuse_change('an adjustment never changes')"
    )
    op.execute(
        'CREATE TRIGGER adjustments_kept BEFORE DELETE ON adjustments FOR EACH ROW WHEN (true) '
        "EXECUTE FUNCTION billing_refuse_change('an adjustment is kept')"
    )
    op.add_column('metered_leases', sa.Column('credit_due', sa.String(), nullable=True))
    op.create_index('ix_metered_leases_credit_due', 'metered_leases', ['lease_id'], unique=False, postgresql_where=sa.text('credit_due IS NOT NULL'))


def downgrade() -> None:
    op.drop_index('ix_metered_leases_credit_due', table_name='metered_leases')
    op.drop_column('metered_leases', 'credit_due')
    op.drop_table('adjustments')
