"""Withdrawals: customers' balance sent back as payouts; what arrives and is not final; the right to withdraw."""

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None

_KINDS = "'available', 'held', 'payable', 'paying', 'fees', 'rounding', 'rent', 'treasury'"
_OWNER_SCOPES = "'jobs:read', 'jobs:write', 'billing:read', 'billing:write', 'secrets:write', 'tokens:write'"


def upgrade() -> None:
    op.alter_column('payouts', 'provider_id', existing_type=sa.String(), nullable=True)
    op.add_column('payouts', sa.Column('organization_id', sa.String(), nullable=True))
    op.create_check_constraint(
        op.f('ck_payouts_owner'), 'payouts', '(provider_id IS NULL) <> (organization_id IS NULL)'
    )
    op.create_index('ix_payouts_organization_id', 'payouts', ['organization_id'], unique=False, postgresql_where=sa.text('organization_id IS NOT NULL'))
    op.create_table('withdrawals',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('wallet_address', sa.String(), nullable=False),
    sa.Column('amount_microusd', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('payable_from', sa.DateTime(timezone=True), nullable=False),
    sa.Column('cancelled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('payout_id', sa.String(), nullable=True),
    sa.CheckConstraint('amount_microusd > 0', name=op.f('ck_withdrawals_amount')),
    sa.CheckConstraint('payout_id IS NULL OR cancelled_at IS NULL', name=op.f('ck_withdrawals_cancelled')),
    sa.ForeignKeyConstraint(['payout_id'], ['payouts.id'], name=op.f('fk_withdrawals_payout_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_withdrawals')),
    sa.UniqueConstraint('payout_id', name=op.f('uq_withdrawals_payout_id'))
    )
    op.create_index('ix_withdrawals_organization_id', 'withdrawals', ['organization_id', 'id'], unique=False)
    op.create_index('ix_withdrawals_waiting', 'withdrawals', ['payable_from', 'id'], unique=False, postgresql_where=sa.text('payout_id IS NULL AND cancelled_at IS NULL'))
    op.execute(
        'CREATE TRIGGER withdrawals_frozen BEFORE UPDATE ON withdrawals FOR EACH ROW WHEN '
        '(OLD.payout_id IS NOT NULL OR OLD.cancelled_at IS NOT NULL OR OLD.id IS DISTINCT FROM NEW.id OR '
        'OLD.organization_id IS DISTINCT FROM NEW.organization_id OR '
        'OLD.wallet_address IS DISTINCT FROM NEW.wallet_address OR '
        'OLD.amount_microusd IS DISTINCT FROM NEW.amount_microusd OR '
        'OLD.payable_from IS DISTINCT FROM NEW.payable_from) EXECUTE FUNCTION '
        "billing_refuse_change('a withdrawal is sent or cancelled once, and nothing else of it changes')"
    )
    op.execute(
        'CREATE TRIGGER withdrawals_kept BEFORE DELETE ON withdrawals FOR EACH ROW WHEN (true) EXECUTE FUNCTION '
        "billing_refuse_change('a withdrawal is kept')"
    )
    op.add_column('deposits', sa.Column('arriving_microusd', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.create_check_constraint(op.f('ck_deposits_arriving'), 'deposits', 'arriving_microusd >= 0')
    _account_kinds(_KINDS.replace("'held', ", "'held', 'withdrawing', "))
    # Owners' tokens that may do all there was may withdraw, too; nobody could make such a token otherwise.
    op.execute(
        "UPDATE tokens SET scopes = array(SELECT unnest(scopes || 'billing:withdraw'::text) ORDER BY 1) "
        f"WHERE role = 'owner' AND scopes @> ARRAY[{_OWNER_SCOPES}]::text[]"
    )


def downgrade() -> None:
    op.execute("UPDATE tokens SET scopes = array_remove(scopes, 'billing:withdraw'::text)")
    _account_kinds(_KINDS)
    op.drop_constraint(op.f('ck_deposits_arriving'), 'deposits', type_='check')
    op.drop_column('deposits', 'arriving_microusd')
    op.drop_table('withdrawals')
    op.drop_index('ix_payouts_organization_id', table_name='payouts')
    op.drop_constraint(op.f('ck_payouts_owner'), 'payouts', type_='check')
    op.drop_column('payouts', 'organization_id')
    op.alter_column('payouts', 'provider_id', existing_type=sa.String(), nullable=False)


def _account_kinds(kinds: str) -> None:
    op.drop_constraint(op.f('ck_accounts_kind'), 'accounts', type_='check')
    op.create_check_constraint(op.f('ck_accounts_kind'), 'accounts', f'kind IN ({kinds})')
