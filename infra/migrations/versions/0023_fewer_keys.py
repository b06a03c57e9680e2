"""A grant checks five foreign keys instead of eight: what repeats an attempt's row, or its node's, rests on theirs."""

from alembic import op

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None

_REPEATED = (('attempts', 'provider_id', 'providers'), ('leases', 'job_id', 'jobs'), ('leases', 'node_id', 'nodes'))


def upgrade() -> None:
    for table, column, _ in _REPEATED:
        op.drop_constraint(f'fk_{table}_{column}', table, type_='foreignkey')


def downgrade() -> None:
    for table, column, other in _REPEATED:
        op.create_foreign_key(f'fk_{table}_{column}', table, other, [column], ['id'])
