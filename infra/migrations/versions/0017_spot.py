"""Spot jobs: what they bid, and which providers take them."""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('spot_attempts',
    sa.Column('attempt_id', sa.String(), nullable=False),
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('bid_microusd_per_unit_hour', sa.BigInteger(), nullable=False),
    sa.Column('asked_microusd_per_unit_hour', sa.BigInteger(), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reclaimed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outbid_by_microusd_per_unit_hour', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['attempt_id'], ['attempts.id'], name=op.f('fk_spot_attempts_attempt_id')),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_spot_attempts_job_id')),
    sa.PrimaryKeyConstraint('attempt_id', name=op.f('pk_spot_attempts'))
    )
    op.create_index('ix_spot_attempts_live', 'spot_attempts', ['attempt_id'], unique=False, postgresql_where=sa.text('ended_at IS NULL'))
    op.create_index('ix_spot_attempts_job_id', 'spot_attempts', ['job_id'], unique=False)
    # What stands from before takes spot jobs at the usual floor; a portal of the version before may still add rows.
    op.add_column('node_terms', sa.Column('spot', sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column('node_terms', sa.Column('spot_floor_milli', sa.BigInteger(), nullable=False, server_default='500'))


def downgrade() -> None:
    op.drop_column('node_terms', 'spot_floor_milli')
    op.drop_column('node_terms', 'spot')
    op.drop_table('spot_attempts')
