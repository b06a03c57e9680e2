"""Allowances: token accounts of customers that the treasury pulls from, and its pulls."""

import sqlalchemy as sa
from alembic import op

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None

_KINDS = "'anchor', 'payouts', 'table'"
_WHOSE = ' OR '.join(
    f'OLD.{name} IS DISTINCT FROM NEW.{name}'
    for name in ('id', 'organization_id', 'delegate', 'mint', 'token_account', 'owner')
)


def upgrade() -> None:
    op.create_table('allowances',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('delegate', sa.String(), nullable=False),
    sa.Column('mint', sa.String(), nullable=False),
    sa.Column('state', sa.String(), server_default=sa.text("'waiting'"), nullable=False),
    sa.Column('keep_microusd', sa.BigInteger(), nullable=False),
    sa.Column('daily_max_microusd', sa.BigInteger(), nullable=True),
    sa.Column('approval', sa.String(), nullable=True),
    sa.Column('offered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('token_account', sa.String(), nullable=True),
    sa.Column('owner', sa.String(), nullable=True),
    sa.Column('detail', sa.String(), server_default=sa.text("''"), nullable=False),
    sa.Column('delegated_microusd', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('balance_microusd', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('read_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('next_look_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('retry_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name=op.f('ck_allowances_ended')),
    sa.CheckConstraint("state <> 'active' OR token_account IS NOT NULL", name=op.f('ck_allowances_proven')),
    sa.CheckConstraint("state IN ('waiting', 'active', 'ended')", name=op.f('ck_allowances_state')),
    sa.CheckConstraint('(token_account IS NULL) = (owner IS NULL)', name=op.f('ck_allowances_owner')),
    sa.CheckConstraint('delegated_microusd >= 0 AND balance_microusd >= 0', name=op.f('ck_allowances_reading')),
    sa.CheckConstraint('keep_microusd >= 0 AND daily_max_microusd > 0', name=op.f('ck_allowances_terms')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_allowances'))
    )
    op.create_index('ix_allowances_looked_at', 'allowances', ['next_look_at'], unique=False, postgresql_where=sa.text("state <> 'ended'"))
    op.create_index('uq_allowances_account', 'allowances', ['token_account'], unique=True, postgresql_where=sa.text("state = 'active'"))
    op.create_index('uq_allowances_live', 'allowances', ['organization_id'], unique=True, postgresql_where=sa.text("state <> 'ended'"))
    op.create_table('pulls',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('allowance_id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('token_account', sa.String(), nullable=False),
    sa.Column('amount_microusd', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.String(), server_default=sa.text("'open'"), nullable=False),
    sa.Column('batch_id', sa.String(), nullable=True),
    sa.Column('detail', sa.String(), server_default=sa.text("''"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'open') = (ended_at IS NULL)", name=op.f('ck_pulls_ended')),
    sa.CheckConstraint("state <> 'confirmed' OR batch_id IS NOT NULL", name=op.f('ck_pulls_confirmed')),
    sa.CheckConstraint("state IN ('open', 'confirmed', 'returned')", name=op.f('ck_pulls_state')),
    sa.CheckConstraint('amount_microusd > 0', name=op.f('ck_pulls_amount')),
    sa.ForeignKeyConstraint(['allowance_id'], ['allowances.id'], name=op.f('fk_pulls_allowance_id')),
    sa.ForeignKeyConstraint(['batch_id'], ['settlement_batches.id'], name=op.f('fk_pulls_batch_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_pulls')),
    sa.UniqueConstraint('batch_id', name=op.f('uq_pulls_batch_id'))
    )
    op.create_index('ix_pulls_organization_id', 'pulls', ['organization_id', 'created_at'], unique=False)
    op.create_index('uq_pulls_open', 'pulls', ['organization_id'], unique=True, postgresql_where=sa.text("state = 'open'"))
    op.execute(
        "CREATE TRIGGER pulls_ended_once BEFORE UPDATE ON pulls FOR EACH ROW WHEN (OLD.state <> 'open') "
        "EXECUTE FUNCTION billing_refuse_change('a pull that has ended never changes')"
    )
    op.execute(
        'CREATE TRIGGER pulls_kept BEFORE DELETE ON pulls FOR EACH ROW WHEN (true) '
        "EXECUTE FUNCTION billing_refuse_change('a pull is kept')"
    )
    op.execute(
        "CREATE TRIGGER allowances_frozen BEFORE UPDATE ON allowances FOR EACH ROW WHEN (OLD.state = 'ended' OR "
        f"OLD.state = 'active' AND (NEW.state = 'waiting' OR {_WHOSE})) EXECUTE FUNCTION "
        "billing_refuse_change('whose account an allowance is never changes, and an ended one not at all')"
    )
    _batch_kinds(f"{_KINDS}, 'pull'")


def downgrade() -> None:
    _batch_kinds(_KINDS)
    op.drop_index('uq_pulls_open', table_name='pulls', postgresql_where=sa.text("state = 'open'"))
    op.drop_index('ix_pulls_organization_id', table_name='pulls')
    op.drop_table('pulls')
    op.drop_index('uq_allowances_live', table_name='allowances', postgresql_where=sa.text("state <> 'ended'"))
    op.drop_index('uq_allowances_account', table_name='allowances', postgresql_where=sa.text("state = 'active'"))
    op.drop_index('ix_allowances_looked_at', table_name='allowances', postgresql_where=sa.text("state <> 'ended'"))
    op.drop_table('allowances')


def _batch_kinds(kinds: str) -> None:
    op.drop_constraint(op.f('ck_settlement_batches_kind'), 'settlement_batches', type_='check')
    op.create_check_constraint(
        op.f('ck_settlement_batches_kind'),
        'settlement_batches',
        "(kind = 'anchor') = (epoch IS NOT NULL) AND (kind = 'table') = (entries IS NOT NULL) "
        f'AND kind IN ({kinds})',
    )
