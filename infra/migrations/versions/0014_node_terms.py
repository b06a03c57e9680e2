"""What providers say of their nodes, and how the nodes' attempts ended."""

import sqlalchemy as sa
from alembic import op

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('node_terms',
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('region', sa.String(), nullable=True),
    sa.Column('labels', sa.ARRAY(sa.String()), nullable=False),
    sa.Column('taints', sa.ARRAY(sa.String()), nullable=False),
    sa.Column('draining', sa.Boolean(), nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('open', sa.ARRAY(sa.String()), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_node_terms_node_id')),
    sa.PrimaryKeyConstraint('node_id', name=op.f('pk_node_terms'))
    )
    op.create_table('node_records',
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('well_milli', sa.BigInteger(), nullable=False),
    sa.Column('ill_milli', sa.BigInteger(), nullable=False),
    sa.Column('reliability_milli', sa.BigInteger(), nullable=False),
    sa.Column('learned_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_node_records_node_id')),
    sa.PrimaryKeyConstraint('node_id', name=op.f('pk_node_records'))
    )
    op.create_index('ix_node_records_poor', 'node_records', ['node_id'], unique=False, postgresql_where=sa.text('reliability_milli < 1000'))


def downgrade() -> None:
    op.drop_table('node_records')
    op.drop_table('node_terms')
