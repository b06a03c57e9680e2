"""Rounds on record."""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('placement_rounds',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('chain_id', sa.String(), nullable=False),
    sa.Column('number', sa.BigInteger(), nullable=False),
    sa.Column('decided_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('asked', sa.BigInteger(), nullable=False),
    sa.Column('placed', sa.BigInteger(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_placement_rounds'))
    )
    op.create_index('uq_placement_rounds_chain', 'placement_rounds', ['chain_id', 'number'], unique=True)


def downgrade() -> None:
    op.drop_index('uq_placement_rounds_chain', table_name='placement_rounds')
    op.drop_table('placement_rounds')
