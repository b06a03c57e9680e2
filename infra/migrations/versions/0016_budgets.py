"""Budgets of organizations, counted by the database as windows are funded, and what is told of money that ends."""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

_COUNT = """
CREATE OR REPLACE FUNCTION billing_count_budgets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE before text[];
BEGIN
  IF TG_OP = 'UPDATE' THEN
    before := OLD.budgets;
    UPDATE budget_periods p SET used_microusd = p.used_microusd
      + coalesce(NEW.captured_microusd, NEW.amount_microusd) - coalesce(OLD.captured_microusd, OLD.amount_microusd)
    FROM budgets b WHERE b.id = ANY (before) AND p.budget_id = b.id
      AND p.starts_at = date_trunc(b.period, coalesce(NEW.starts_at, NEW.created_at), 'UTC');
  END IF;
  INSERT INTO budget_periods (budget_id, starts_at, used_microusd)
  SELECT b.id, date_trunc(b.period, coalesce(NEW.starts_at, NEW.created_at), 'UTC'),
    coalesce(NEW.captured_microusd, NEW.amount_microusd)
  FROM budgets b WHERE b.id = ANY (NEW.budgets) AND (b.id = ANY (before)) IS NOT TRUE ORDER BY b.id
  ON CONFLICT (budget_id, starts_at) DO UPDATE
  SET used_microusd = budget_periods.used_microusd + EXCLUDED.used_microusd;
  RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.create_table('budgets',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('label', sa.String(), nullable=False),
    sa.Column('period', sa.String(), nullable=False),
    sa.Column('limit_microusd', sa.BigInteger(), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("period IN ('hour', 'day', 'month')", name=op.f('ck_budgets_period')),
    sa.CheckConstraint('limit_microusd >= 0', name=op.f('ck_budgets_amount')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_budgets')),
    sa.UniqueConstraint('organization_id', 'label', 'period', name=op.f('uq_budgets_organization_id_label_period'))
    )
    op.create_table('budget_periods',
    sa.Column('budget_id', sa.String(), nullable=False),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_microusd', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('used_microusd >= 0', name=op.f('ck_budget_periods_amount')),
    sa.ForeignKeyConstraint(['budget_id'], ['budgets.id'], name=op.f('fk_budget_periods_budget_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('budget_id', 'starts_at', name=op.f('pk_budget_periods'))
    )
    op.create_table('money_watches',
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('low_microusd', sa.BigInteger(), nullable=False),
    sa.Column('forecast_hours', sa.BigInteger(), nullable=False),
    sa.CheckConstraint('low_microusd >= 0 AND forecast_hours >= 0', name=op.f('ck_money_watches_amounts')),
    sa.PrimaryKeyConstraint('organization_id', name=op.f('pk_money_watches'))
    )
    op.create_table('money_events',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('subject', sa.String(), nullable=False),
    sa.Column('detail', sa.String(), nullable=False),
    sa.Column('told_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('over_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("kind IN ('balance_low', 'balance_forecast', 'budget_low', 'budget_spent')", name=op.f('ck_money_events_kind')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_money_events'))
    )
    op.create_index('uq_money_events_lasting', 'money_events', ['organization_id', 'kind', 'subject'], unique=True, postgresql_where=sa.text('over_at IS NULL'))
    op.create_index('ix_money_events_organization_id', 'money_events', ['organization_id', 'told_at', 'id'], unique=False)
    op.add_column('accounts', sa.Column('budgeted', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('job_terms', sa.Column('labels', sa.ARRAY(sa.Text()), nullable=True))
    op.add_column('holds', sa.Column('starts_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('holds', sa.Column('budgets', sa.ARRAY(sa.Text()), nullable=True))
    op.create_index('ix_holds_organization_id', 'holds', ['organization_id', 'created_at'], unique=False)
    op.execute(_COUNT)
    for name, event in (('holds_counted_new', 'INSERT'), ('holds_counted', 'UPDATE')):
        op.execute(
            f'CREATE TRIGGER {name} AFTER {event} ON holds FOR EACH ROW WHEN (NEW.budgets IS NOT NULL) '
            'EXECUTE FUNCTION billing_count_budgets()'
        )


def downgrade() -> None:
    op.execute('DROP TRIGGER holds_counted ON holds')
    op.execute('DROP TRIGGER holds_counted_new ON holds')
    op.execute('DROP FUNCTION billing_count_budgets()')
    op.drop_index('ix_holds_organization_id', table_name='holds')
    op.drop_column('holds', 'budgets')
    op.drop_column('holds', 'starts_at')
    op.drop_column('job_terms', 'labels')
    op.drop_column('accounts', 'budgeted')
    op.drop_table('money_events')
    op.drop_table('money_watches')
    op.drop_table('budget_periods')
    op.drop_table('budgets')
