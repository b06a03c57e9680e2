"""When the portal last took polls: a deaf portal is not mistaken for lost nodes."""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('portal_pulse',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('listened_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_portal_pulse_one_row')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_portal_pulse'))
    )


def downgrade() -> None:
    op.drop_table('portal_pulse')
