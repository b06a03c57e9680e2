"""Challenges to devices, where each stands, what cards were measured at, and what nodes were measured to do."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('card_rates',
    sa.Column('model', sa.String(), nullable=False),
    sa.Column('power_limit_watts', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('operations_per_second', sa.BigInteger(), nullable=False),
    sa.Column('providers', sa.BigInteger(), nullable=False),
    sa.Column('measured_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('operations_per_second > 0', name=op.f('ck_card_rates_rate')),
    sa.PrimaryKeyConstraint('model', 'power_limit_watts', name=op.f('pk_card_rates'))
    )
    op.create_table('proof_challenges',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('provider_id', sa.String(), nullable=False),
    sa.Column('device', sa.String(), nullable=False),
    sa.Column('model', sa.String(), nullable=True),
    sa.Column('power_limit_watts', sa.BigInteger(), nullable=True),
    sa.Column('cause', sa.Enum('join', 'idle', 'suspicion', 'shared_uuid', 'appeal', name='cause', native_enum=False, length=40), nullable=False),
    sa.Column('barrier_id', sa.String(), nullable=False),
    sa.Column('together', sa.Boolean(), nullable=False),
    sa.Column('state', sa.Enum('waiting', 'issued', 'committed', 'remembered', 'answered', 'judged', 'missed', name='challengestate', native_enum=False, length=40), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('rounds', sa.BigInteger(), nullable=False),
    sa.Column('kept', sa.BigInteger(), nullable=False),
    sa.Column('nonce', sa.LargeBinary(), nullable=True),
    sa.Column('roots', sa.LargeBinary(), nullable=True),
    sa.Column('secret', sa.LargeBinary(), nullable=True),
    sa.Column('memory_nonce', sa.LargeBinary(), nullable=True),
    sa.Column('memory_roots', sa.LargeBinary(), nullable=True),
    sa.Column('memory_secret', sa.LargeBinary(), nullable=True),
    sa.Column('answer', sa.LargeBinary(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('issued_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('committed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('remembered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('answered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('judged_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('engine', sa.String(), nullable=False),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.Column('findings', sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql'), nullable=True),
    sa.Column('faults', sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), 'postgresql'), nullable=True),
    sa.Column('shadow', postgresql.ARRAY(sa.String()), nullable=True),
    sa.Column('operations_per_second', sa.BigInteger(), nullable=True),
    sa.Column('verifier_cpu_ms', sa.BigInteger(), nullable=True),
    sa.Column('disturbed', sa.Boolean(), nullable=True),
    sa.CheckConstraint('committed_at >= issued_at', name=op.f('ck_proof_challenges_commit_after_issue')),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_proof_challenges_node_id')),
    sa.ForeignKeyConstraint(['provider_id'], ['providers.id'], name=op.f('fk_proof_challenges_provider_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_proof_challenges'))
    )
    op.create_index('ix_proof_challenges_answered_at', 'proof_challenges', ['answered_at'], unique=False, postgresql_where=sa.text("state = 'answered'"))
    op.create_index('ix_proof_challenges_barrier_id', 'proof_challenges', ['barrier_id'], unique=False)
    op.create_index('ix_proof_challenges_device', 'proof_challenges', ['node_id', 'device', 'created_at'], unique=False)
    op.create_index('uq_proof_challenges_live', 'proof_challenges', ['node_id', 'device'], unique=True, postgresql_where=sa.text("state IN ('waiting', 'issued', 'committed', 'remembered', 'answered')"))
    op.create_table('proof_standings',
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('device', sa.String(), nullable=False),
    sa.Column('state', sa.Enum('unproven', 'verified', 'suspect', 'frozen', 'banned', name='proofstate', native_enum=False, length=40), nullable=False),
    sa.Column('failures', sa.BigInteger(), nullable=False),
    sa.Column('misses', sa.BigInteger(), nullable=False),
    sa.Column('passes', sa.BigInteger(), nullable=False),
    sa.Column('slow', sa.String(), nullable=False),
    sa.Column('score', sa.BigInteger(), nullable=False),
    sa.Column('owners_cleared', sa.BigInteger(), nullable=False),
    sa.Column('audits', sa.BigInteger(), nullable=False),
    sa.Column('suspicion', sa.String(), nullable=False),
    sa.Column('cause', sa.Enum('join', 'idle', 'suspicion', 'shared_uuid', 'appeal', name='cause', native_enum=False, length=40), nullable=False),
    sa.Column('next_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('proven_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('appealed_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('score BETWEEN 0 AND 1000', name=op.f('ck_proof_standings_score')),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_proof_standings_node_id')),
    sa.PrimaryKeyConstraint('node_id', 'device', name=op.f('pk_proof_standings'))
    )
    op.create_index('ix_proof_standings_next_at', 'proof_standings', ['next_at'], unique=False)
    op.create_table('benchmarks',
    sa.Column('node_id', sa.String(), nullable=False),
    sa.Column('device', sa.String(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('value', sa.BigInteger(), nullable=False),
    sa.Column('by_market', sa.Boolean(), nullable=False),
    sa.Column('challenge_id', sa.String(), nullable=False),
    sa.Column('measured_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['challenge_id'], ['proof_challenges.id'], name=op.f('fk_benchmarks_challenge_id')),
    sa.ForeignKeyConstraint(['node_id'], ['nodes.id'], name=op.f('fk_benchmarks_node_id')),
    sa.PrimaryKeyConstraint('node_id', 'device', 'kind', name=op.f('pk_benchmarks'))
    )
    op.create_index('ix_gpus_uuid', 'gpus', ['uuid'], unique=False)
    op.add_column('nodes', sa.Column('verified', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('nodes', sa.Column('barred', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.add_column('providers', sa.Column('circuit_watts', sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column('providers', 'circuit_watts')
    op.drop_column('nodes', 'barred')
    op.drop_column('nodes', 'verified')
    op.drop_index('ix_gpus_uuid', table_name='gpus')
    op.drop_table('benchmarks')
    op.drop_index('ix_proof_standings_next_at', table_name='proof_standings')
    op.drop_table('proof_standings')
    op.drop_index('uq_proof_challenges_live', table_name='proof_challenges', postgresql_where=sa.text("state IN ('waiting', 'issued', 'committed', 'remembered', 'answered')"))
    op.drop_index('ix_proof_challenges_device', table_name='proof_challenges')
    op.drop_index('ix_proof_challenges_barrier_id', table_name='proof_challenges')
    op.drop_index('ix_proof_challenges_answered_at', table_name='proof_challenges', postgresql_where=sa.text("state = 'answered'"))
    op.drop_table('proof_challenges')
    op.drop_table('card_rates')
