"""MIG profiles: of the slices that nodes have, and that jobs ask for."""

import sqlalchemy as sa
from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('gpus', sa.Column('mig_profile', sa.String(), nullable=True))
    op.add_column('jobs', sa.Column('gpu_mig', sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column('jobs', 'gpu_mig')
    op.drop_column('gpus', 'mig_profile')
