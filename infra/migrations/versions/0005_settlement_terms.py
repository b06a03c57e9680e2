"""Payouts by each provider's terms, through lookup tables, into accounts of their own making; unexplained money."""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('lookup_tables',
    sa.Column('address', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('retired_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('address', name=op.f('pk_lookup_tables'))
    )
    op.create_table('lookup_entries',
    sa.Column('table_address', sa.String(), nullable=False),
    sa.Column('position', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('account', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['table_address'], ['lookup_tables.address'], name=op.f('fk_lookup_entries_table_address')),
    sa.PrimaryKeyConstraint('table_address', 'position', name=op.f('pk_lookup_entries'))
    )
    op.create_index('ix_lookup_entries_account', 'lookup_entries', ['account'], unique=False)
    op.create_table('treasury_movements',
    sa.Column('signature', sa.String(), nullable=False),
    sa.Column('amount_microusd', sa.BigInteger(), nullable=False),
    sa.Column('sender', sa.String(), nullable=True),
    sa.Column('memo', sa.String(), nullable=True),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('deposit_id', sa.String(), nullable=True),
    sa.CheckConstraint('amount_microusd <> 0', name=op.f('ck_treasury_movements_amount')),
    sa.CheckConstraint('deposit_id IS NULL OR amount_microusd > 0', name=op.f('ck_treasury_movements_assigned')),
    sa.ForeignKeyConstraint(['deposit_id'], ['deposits.id'], name=op.f('fk_treasury_movements_deposit_id')),
    sa.PrimaryKeyConstraint('signature', name=op.f('pk_treasury_movements'))
    )
    op.create_index('ix_treasury_movements_open', 'treasury_movements', ['seen_at'], unique=False, postgresql_where=sa.text('deposit_id IS NULL'))
    op.create_table('treasury_sweeps',
    sa.Column('account', sa.String(), nullable=False),
    sa.Column('signature', sa.String(), nullable=True),
    sa.Column('swept_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('account', name=op.f('pk_treasury_sweeps'))
    )
    for column in (
        sa.Column('payable_from', sa.DateTime(timezone=True), nullable=True),
        sa.Column('settled_address', sa.String(), nullable=True),
        sa.Column('account_missing', sa.Boolean(), server_default=sa.text('false'), nullable=False),
        sa.Column('held_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('held_reason', sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column('threshold_microusd', sa.BigInteger(), nullable=True),
        sa.Column('every_seconds', sa.BigInteger(), nullable=True),
    ):
        op.add_column('payout_wallets', column)
    op.create_check_constraint(
        op.f('ck_payout_wallets_terms'), 'payout_wallets', 'threshold_microusd > 0 AND every_seconds > 0'
    )
    op.execute('UPDATE payout_wallets SET payable_from = changed_at, settled_address = address')
    op.add_column('payouts', sa.Column('rent_microusd', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.add_column('payouts', sa.Column('account', sa.String(), nullable=True))
    op.create_check_constraint(op.f('ck_payouts_rent'), 'payouts', 'rent_microusd BETWEEN 0 AND amount_microusd - 1')
    op.create_check_constraint(op.f('ck_payouts_account'), 'payouts', "account IN ('there', 'missing')")
    op.drop_index('ix_payouts_provider_id', table_name='payouts')
    op.create_index('ix_payouts_provider_id', 'payouts', ['provider_id', 'created_at'], unique=False)
    op.create_index('ix_payouts_created_at', 'payouts', ['created_at'], unique=False)
    op.add_column('settlement_batches', sa.Column('table_address', sa.String(), nullable=True))
    op.add_column('settlement_batches', sa.Column('entries', sa.ARRAY(sa.Text()), nullable=True))
    op.drop_constraint(op.f('ck_settlement_batches_kind'), 'settlement_batches', type_='check')
    op.create_check_constraint(
        op.f('ck_settlement_batches_kind'),
        'settlement_batches',
        "(kind = 'anchor') = (epoch IS NOT NULL) AND (kind = 'table') = (entries IS NOT NULL) "
        "AND kind IN ('anchor', 'payouts', 'table')",
    )
    op.create_index('uq_settlement_batches_growing', 'settlement_batches', ['kind'], unique=True, postgresql_where=sa.text("kind = 'table' AND done_at IS NULL"))
    _account_kinds("'available', 'held', 'payable', 'paying', 'fees', 'rounding', 'rent', 'treasury'")


def downgrade() -> None:
    _account_kinds("'available', 'held', 'payable', 'paying', 'fees', 'rounding', 'treasury'")
    op.drop_index('uq_settlement_batches_growing', table_name='settlement_batches')
    op.drop_constraint(op.f('ck_settlement_batches_kind'), 'settlement_batches', type_='check')
    op.drop_column('settlement_batches', 'entries')
    op.drop_column('settlement_batches', 'table_address')
    op.create_check_constraint(
        op.f('ck_settlement_batches_kind'),
        'settlement_batches',
        "(kind = 'anchor') = (epoch IS NOT NULL) AND kind IN ('anchor', 'payouts')",
    )
    op.drop_index('ix_payouts_created_at', table_name='payouts')
    op.drop_index('ix_payouts_provider_id', table_name='payouts')
    op.create_index('ix_payouts_provider_id', 'payouts', ['provider_id'], unique=False)
    op.drop_constraint(op.f('ck_payouts_rent'), 'payouts', type_='check')
    op.drop_constraint(op.f('ck_payouts_account'), 'payouts', type_='check')
    op.drop_column('payouts', 'account')
    op.drop_column('payouts', 'rent_microusd')
    op.drop_constraint(op.f('ck_payout_wallets_terms'), 'payout_wallets', type_='check')
    for name in (
        'every_seconds', 'threshold_microusd', 'held_reason', 'held_at', 'account_missing', 'settled_address', 'payable_from'
    ):
        op.drop_column('payout_wallets', name)
    op.drop_table('treasury_sweeps')
    op.drop_table('treasury_movements')
    op.drop_table('lookup_entries')
    op.drop_table('lookup_tables')


def _account_kinds(kinds: str) -> None:
    op.drop_constraint(op.f('ck_accounts_kind'), 'accounts', type_='check')
    op.create_check_constraint(op.f('ck_accounts_kind'), 'accounts', f'kind IN ({kinds})')
