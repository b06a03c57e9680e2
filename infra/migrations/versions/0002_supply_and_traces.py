"""What was offered when, the request behind each job, and the indexes that analytics and job traces read by."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('supply_intervals',
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('unit', sa.Enum('gpu', 'cpu', name='unit', native_enum=False, length=40), nullable=False),
    sa.Column('model', sa.String(), nullable=False),
    sa.Column('from_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('provider_id', sa.String(), nullable=False),
    sa.Column('simulated', sa.Boolean(), nullable=False),
    sa.Column('quantity_milli', sa.BigInteger(), nullable=False),
    sa.Column('until_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('quantity_milli > 0', name=op.f('ck_supply_intervals_quantity')),
    sa.CheckConstraint('until_at >= from_at', name=op.f('ck_supply_intervals_time')),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_supply_intervals_node_id')),
    sa.ForeignKeyConstraint(['provider_id'], ['providers.id'], name=op.f('fk_supply_intervals_provider_id')),
    sa.PrimaryKeyConstraint('node_id', 'unit', 'model', 'from_at', name=op.f('pk_supply_intervals'))
    )
    op.create_index('ix_supply_intervals_until_at', 'supply_intervals', ['until_at'], unique=False)
    op.create_index('uq_supply_intervals_open', 'supply_intervals', ['node_id', 'unit', 'model'], unique=True, postgresql_where=sa.text('until_at IS NULL'))
    op.create_index('ix_attempts_first_placed_at', 'attempts', ['placed_at'], unique=False, postgresql_where=sa.text('number = 1'))
    op.add_column('jobs', sa.Column('trace', sa.String(), nullable=True))
    op.create_index('ix_jobs_ended_at', 'jobs', ['ended_at'], unique=False, postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.create_index('ix_leases_released_at', 'leases', ['released_at'], unique=False)
    op.add_column('metered_leases', sa.Column('trace', sa.String(), nullable=True))
    op.create_index('ix_outbox_messages_job_id', 'outbox_messages', [sa.literal_column("(body ->> 'job_id')")], unique=False)
    op.add_column('sweep_pulse', sa.Column('supply_at', sa.DateTime(timezone=True), nullable=True))
    op.create_index('ix_usage_lines_captured_at', 'usage_lines', ['captured_at'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_usage_lines_captured_at', table_name='usage_lines')
    op.drop_column('sweep_pulse', 'supply_at')
    op.drop_index('ix_outbox_messages_job_id', table_name='outbox_messages')
    op.drop_column('metered_leases', 'trace')
    op.drop_index('ix_leases_released_at', table_name='leases')
    op.drop_index('ix_jobs_ended_at', table_name='jobs', postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.drop_column('jobs', 'trace')
    op.drop_index('ix_attempts_first_placed_at', table_name='attempts', postgresql_where=sa.text('number = 1'))
    op.drop_index('uq_supply_intervals_open', table_name='supply_intervals', postgresql_where=sa.text('until_at IS NULL'))
    op.drop_index('ix_supply_intervals_until_at', table_name='supply_intervals')
    op.drop_table('supply_intervals')
