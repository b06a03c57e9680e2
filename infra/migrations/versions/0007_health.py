"""What stands against nodes and GPUs, their telemetry by the minute, and more of what a GPU is."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('node_conditions',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('gpu_uuid', sa.String(), nullable=False),
    sa.Column('code', sa.String(length=40), nullable=False),
    sa.Column('detail', sa.String(), nullable=False),
    sa.Column('began_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_node_conditions_node_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_node_conditions'))
    )
    op.create_index('uq_node_conditions_standing', 'node_conditions', ['node_id', 'gpu_uuid', 'code'], unique=True, postgresql_where=sa.text('ended_at IS NULL'))
    op.create_index('ix_node_conditions_ended_at', 'node_conditions', ['ended_at'], unique=False)
    op.create_table('gpu_minutes',
    sa.Column('gpu_id', sa.BigInteger(), nullable=False),
    sa.Column('minute_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('samples', sa.BigInteger(), nullable=False),
    sa.Column('throttled_samples', sa.BigInteger(), nullable=False),
    sa.Column('busy_percent', sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column('memory_used_mib', sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column('temperature_c', sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column('power_milliwatts', sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column('sm_clock_mhz', sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column('energy_millijoules', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['gpu_id'], ['gpus.id'], name=op.f('fk_gpu_minutes_gpu_id')),
    sa.PrimaryKeyConstraint('gpu_id', 'minute_at', name=op.f('pk_gpu_minutes'))
    )
    op.create_index('ix_gpu_minutes_minute_at', 'gpu_minutes', ['minute_at'], unique=False)
    op.add_column('gpus', sa.Column('pci_device_id', sa.BigInteger(), nullable=True))
    op.add_column('gpus', sa.Column('ecc', sa.Boolean(), nullable=True))
    op.add_column('gpus', sa.Column('mig', sa.Boolean(), nullable=True))
    op.add_column('gpus', sa.Column('nvlinks', sa.BigInteger(), nullable=True))
    op.add_column('gpus', sa.Column('quarantined', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('gpus', sa.Column('mended_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('nodes', sa.Column('cuda_version', sa.String(), nullable=True))
    op.add_column('nodes', sa.Column('quarantined', sa.Boolean(), server_default=sa.text('false'), nullable=False))


def downgrade() -> None:
    op.drop_column('nodes', 'quarantined')
    op.drop_column('nodes', 'cuda_version')
    op.drop_column('gpus', 'mended_at')
    op.drop_column('gpus', 'quarantined')
    op.drop_column('gpus', 'nvlinks')
    op.drop_column('gpus', 'mig')
    op.drop_column('gpus', 'ecc')
    op.drop_column('gpus', 'pci_device_id')
    op.drop_index('ix_gpu_minutes_minute_at', table_name='gpu_minutes')
    op.drop_table('gpu_minutes')
    op.drop_index('ix_node_conditions_ended_at', table_name='node_conditions')
    op.drop_index('uq_node_conditions_standing', table_name='node_conditions', postgresql_where=sa.text('ended_at IS NULL'))
    op.drop_table('node_conditions')
