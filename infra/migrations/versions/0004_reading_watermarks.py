"""A watermark for each stream of readings, so that what lies beyond it is copied in without looking."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        'reading_streams', sa.Column('stored_through', sa.BigInteger(), server_default=sa.text('0'), nullable=False)
    )
    op.execute(
        'UPDATE reading_streams SET stored_through = stored.through FROM '
        '(SELECT stream_id, max(sequence) AS through FROM readings GROUP BY 1) AS stored '
        'WHERE stored.stream_id = reading_streams.stream_id'
    )
    op.create_check_constraint(
        op.f('ck_reading_streams_watermark'), 'reading_streams', 'stored_through >= durable_sequence'
    )
    op.execute('ALTER TABLE reading_streams SET (fillfactor = 50)')
    op.drop_constraint(op.f('fk_readings_stream_id'), 'readings', type_='foreignkey')


def downgrade() -> None:
    op.create_foreign_key(
        op.f('fk_readings_stream_id'), 'readings', 'reading_streams', ['stream_id'], ['stream_id']
    )
    op.execute('ALTER TABLE reading_streams RESET (fillfactor)')
    op.drop_constraint(op.f('ck_reading_streams_watermark'), 'reading_streams', type_='check')
    op.drop_column('reading_streams', 'stored_through')
