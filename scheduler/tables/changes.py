"""The log of what changed of the market, written by triggers in the transaction of each change (rounds/kept.py)."""

from sqlalchemy import DDL, BigInteger, Column, Index, String, Table, event, text

from infra.database import Base, Timestamp

FACTS = ""
"""Stands for every node: something changed that is not only room."""

market_changes = Table(
    "market_changes",
    Base.metadata,
    Column("node_id", String, nullable=False),
    Column("transaction_id", BigInteger, nullable=False),
    Column("changed_at", Timestamp, nullable=False, server_default=text("now()")),
    Index("ix_market_changes_transaction_id", "transaction_id"),
)
"""node_id: whose room changed (free counters, leases, revision), or FACTS. A transaction may say one thing often."""

_OWN = "pg_current_xact_id()::text::bigint"
_FACTS = f"""CREATE OR REPLACE FUNCTION scheduler_facts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id) SELECT '{FACTS}', {_OWN}
    WHERE NOT EXISTS (SELECT FROM market_changes WHERE transaction_id = {_OWN} AND node_id = '{FACTS}');
    RETURN NULL;
END $$"""  # noqa: S608 - made of constants
_ROOM = f"""CREATE OR REPLACE FUNCTION scheduler_room_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id) VALUES (NEW.id, {_OWN});
    RETURN NULL;
END $$"""  # noqa: S608 - made of constants
_LEASED = f"""CREATE OR REPLACE FUNCTION scheduler_leases_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO market_changes (node_id, transaction_id)
    SELECT DISTINCT gpu.node_id, {_OWN} FROM changed JOIN gpus AS gpu ON gpu.id = changed.gpu_id;
    RETURN NULL;
END $$"""  # noqa: S608 - made of constants

_NODE_FACTS = (
    "id, provider_id, name, state, pool, simulated, cpu_total_milli, memory_total_bytes, disk_total_bytes, "
    "quarantined, barred, verified, driver_version, cuda_version"
)
_NODE_ROOM = "cpu_free_milli, memory_free_bytes, disk_free_bytes, revision"
_OF_FACTS = ("offers", "gpus", "node_terms", "benchmarks")
"""Whatever changes of them is told."""


def _differ(columns: str) -> str:
    names = columns.split(", ")
    old, new = (", ".join(f"{which}.{name}" for name in names) for which in ("OLD", "NEW"))
    return f"({old}) IS DISTINCT FROM ({new})"


def _rows(table: str, when: str = "OLD.* IS DISTINCT FROM NEW.*") -> tuple[str, ...]:
    """Facts of a table: its rows come, go, change in what is looked at, or all go at once."""
    name, does = f"CREATE OR REPLACE TRIGGER {table}_facts", "EXECUTE FUNCTION scheduler_facts_changed()"
    return (
        f"{name}_new AFTER INSERT OR DELETE ON {table} FOR EACH ROW {does}",
        f"{name} AFTER UPDATE ON {table} FOR EACH ROW WHEN ({when}) {does}",
        f"{name}_none AFTER TRUNCATE ON {table} FOR EACH STATEMENT {does}",
    )


def _leases(event_name: str, rows: str) -> str:
    return (
        f"CREATE OR REPLACE TRIGGER lease_gpus_room_{event_name.lower()} AFTER {event_name} ON lease_gpus "
        f"REFERENCING {rows} TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION scheduler_leases_changed()"
    )


STATEMENTS = (
    _FACTS,
    _ROOM,
    _LEASED,
    *(statement for table in _OF_FACTS for statement in _rows(table)),
    *_rows("nodes", _differ(_NODE_FACTS)),
    *_rows("node_records", _differ("reliability_milli")),
    *_rows("proof_standings", _differ("state")),
    f"CREATE OR REPLACE TRIGGER nodes_room AFTER UPDATE ON nodes FOR EACH ROW WHEN ({_differ(_NODE_ROOM)}) "
    "EXECUTE FUNCTION scheduler_room_changed()",
    _leases("INSERT", "NEW"),
    _leases("UPDATE", "NEW"),
    _leases("DELETE", "OLD"),
    "CREATE OR REPLACE TRIGGER lease_gpus_facts_none AFTER TRUNCATE ON lease_gpus FOR EACH STATEMENT "
    "EXECUTE FUNCTION scheduler_facts_changed()",
)

for _statement in STATEMENTS:
    # DDL() takes % for its own formatting. SQLAlchemy leaves its constructor untyped.
    _made = DDL(_statement.replace("%", "%%")).execute_if(dialect="postgresql")  # type: ignore[no-untyped-call]
    event.listen(Base.metadata, "after_create", _made)
