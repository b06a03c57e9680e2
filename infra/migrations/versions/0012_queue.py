"""Who was passed over in the queue and where places are held, and what organizations are entitled to."""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('queue_marks',
    sa.Column('job_id', sa.String(), nullable=False),
    sa.Column('passed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('held_nodes', sa.ARRAY(sa.String()), nullable=False),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_queue_marks_job_id')),
    sa.PrimaryKeyConstraint('job_id', name=op.f('pk_queue_marks'))
    )
    op.create_table('organization_shares',
    sa.Column('organization_id', sa.String(), nullable=False),
    sa.Column('weight_milli', sa.BigInteger(), nullable=False),
    sa.Column('quota_gpus', sa.BigInteger(), nullable=False),
    sa.Column('ceiling_gpus', sa.BigInteger(), nullable=True),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('weight_milli > 0 AND quota_gpus >= 0 AND ceiling_gpus >= 0', name=op.f('ck_organization_shares_amounts')),
    sa.PrimaryKeyConstraint('organization_id', name=op.f('pk_organization_shares'))
    )


def downgrade() -> None:
    op.drop_table('organization_shares')
    op.drop_table('queue_marks')
