"""The log of what changed of the market, which rounds follow: a table, and the triggers that write it."""

import sqlalchemy as sa
from alembic import op

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None

_OWN = 'pg_current_xact_id()::text::bigint'
_STATEMENTS = (
    f"""CREATE OR REPLACE FUNCTION scheduler_facts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id) SELECT '', {_OWN}
    WHERE NOT EXISTS (SELECT FROM market_changes WHERE transaction_id = {_OWN} AND node_id = '');
    RETURN NULL;
END $$""",
    f"""CREATE OR REPLACE FUNCTION scheduler_room_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id) VALUES (NEW.id, {_OWN});
    RETURN NULL;
END $$""",
    f"""CREATE OR REPLACE FUNCTION scheduler_leases_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id)
    SELECT DISTINCT gpu.node_id, {_OWN} FROM changed JOIN gpus AS gpu ON gpu.id = changed.gpu_id;
    RETURN NULL;
END $$""",
    "CREATE OR REPLACE TRIGGER offers_facts_new AFTER INSERT OR DELETE ON offers FOR EACH ROW EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER offers_facts AFTER UPDATE ON offers FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM "
    "NEW.*) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER offers_facts_none AFTER TRUNCATE ON offers FOR EACH STATEMENT EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER gpus_facts_new AFTER INSERT OR DELETE ON gpus FOR EACH ROW EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER gpus_facts AFTER UPDATE ON gpus FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM "
    "NEW.*) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER gpus_facts_none AFTER TRUNCATE ON gpus FOR EACH STATEMENT EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_terms_facts_new AFTER INSERT OR DELETE ON node_terms FOR EACH ROW EXECUTE "
    "FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_terms_facts AFTER UPDATE ON node_terms FOR EACH ROW WHEN (OLD.* IS "
    "DISTINCT FROM NEW.*) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_terms_facts_none AFTER TRUNCATE ON node_terms FOR EACH STATEMENT EXECUTE "
    "FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER benchmarks_facts_new AFTER INSERT OR DELETE ON benchmarks FOR EACH ROW EXECUTE "
    "FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER benchmarks_facts AFTER UPDATE ON benchmarks FOR EACH ROW WHEN (OLD.* IS "
    "DISTINCT FROM NEW.*) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER benchmarks_facts_none AFTER TRUNCATE ON benchmarks FOR EACH STATEMENT EXECUTE "
    "FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER nodes_facts_new AFTER INSERT OR DELETE ON nodes FOR EACH ROW EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER nodes_facts AFTER UPDATE ON nodes FOR EACH ROW WHEN ((OLD.id, OLD.provider_id, "
    "OLD.name, OLD.state, OLD.pool, OLD.simulated, OLD.cpu_total_milli, OLD.memory_total_bytes, "
    "OLD.disk_total_bytes, OLD.quarantined, OLD.barred, OLD.verified, OLD.driver_version, OLD.cuda_version) IS "
    "DISTINCT FROM (NEW.id, NEW.provider_id, NEW.name, NEW.state, NEW.pool, NEW.simulated, "
    "NEW.cpu_total_milli, NEW.memory_total_bytes, NEW.disk_total_bytes, NEW.quarantined, NEW.barred, "
    "NEW.verified, NEW.driver_version, NEW.cuda_version)) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER nodes_facts_none AFTER TRUNCATE ON nodes FOR EACH STATEMENT EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_records_facts_new AFTER INSERT OR DELETE ON node_records FOR EACH ROW "
    "EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_records_facts AFTER UPDATE ON node_records FOR EACH ROW WHEN "
    "((OLD.reliability_milli) IS DISTINCT FROM (NEW.reliability_milli)) EXECUTE FUNCTION "
    "scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER node_records_facts_none AFTER TRUNCATE ON node_records FOR EACH STATEMENT "
    "EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER proof_standings_facts_new AFTER INSERT OR DELETE ON proof_standings FOR EACH "
    "ROW EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER proof_standings_facts AFTER UPDATE ON proof_standings FOR EACH ROW WHEN "
    "((OLD.state) IS DISTINCT FROM (NEW.state)) EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER proof_standings_facts_none AFTER TRUNCATE ON proof_standings FOR EACH STATEMENT "
    "EXECUTE FUNCTION scheduler_facts_changed()",
    "CREATE OR REPLACE TRIGGER nodes_room AFTER UPDATE ON nodes FOR EACH ROW WHEN ((OLD.cpu_free_milli, "
    "OLD.memory_free_bytes, OLD.disk_free_bytes, OLD.revision) IS DISTINCT FROM (NEW.cpu_free_milli, "
    "NEW.memory_free_bytes, NEW.disk_free_bytes, NEW.revision)) EXECUTE FUNCTION scheduler_room_changed()",
    "CREATE OR REPLACE TRIGGER lease_gpus_room_insert AFTER INSERT ON lease_gpus REFERENCING NEW TABLE AS "
    "changed FOR EACH STATEMENT EXECUTE FUNCTION scheduler_leases_changed()",
    "CREATE OR REPLACE TRIGGER lease_gpus_room_update AFTER UPDATE ON lease_gpus REFERENCING NEW TABLE AS "
    "changed FOR EACH STATEMENT EXECUTE FUNCTION scheduler_leases_changed()",
    "CREATE OR REPLACE TRIGGER lease_gpus_room_delete AFTER DELETE ON lease_gpus REFERENCING OLD TABLE AS "
    "changed FOR EACH STATEMENT EXECUTE FUNCTION scheduler_leases_changed()",
    "CREATE OR REPLACE TRIGGER lease_gpus_facts_none AFTER TRUNCATE ON lease_gpus FOR EACH STATEMENT EXECUTE "
    "FUNCTION scheduler_facts_changed()",
)
_TABLES = ('offers', 'gpus', 'node_terms', 'benchmarks', 'nodes', 'node_records', 'proof_standings')


def upgrade() -> None:
    op.create_table(
        'market_changes',
        sa.Column('node_id', sa.String(), nullable=False),
        sa.Column('transaction_id', sa.BigInteger(), nullable=False),
        sa.Column('changed_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    )
    op.create_index('ix_market_changes_transaction_id', 'market_changes', ['transaction_id'], unique=False)
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in _TABLES:
        for name in (f'{table}_facts_new', f'{table}_facts', f'{table}_facts_none'):
            op.execute(f'DROP TRIGGER {name} ON {table}')
    op.execute('DROP TRIGGER nodes_room ON nodes')
    for name in ('lease_gpus_room_insert', 'lease_gpus_room_update', 'lease_gpus_room_delete', 'lease_gpus_facts_none'):
        op.execute(f'DROP TRIGGER {name} ON lease_gpus')
    for name in ('scheduler_facts_changed', 'scheduler_room_changed', 'scheduler_leases_changed'):
        op.execute(f'DROP FUNCTION {name}()')
    op.drop_index('ix_market_changes_transaction_id', table_name='market_changes')
    op.drop_table('market_changes')
