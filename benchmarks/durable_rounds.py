"""How many submitted jobs a second become leases that are committed: 20,000 jobs, 2,500 nodes of 8 GPUs, PostgreSQL.

The rows are the market's, the rounds those of the worker, and commits reach the disk. What a job passes before (its
submission) and after (its node) is not in it.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from infra import migrations
from infra.bulk import insert_rows
from infra.database import Database
from infra.embedded.ephemeral import ephemeral_postgres
from infra.settings import settings
from market.clock import SystemClock
from market.ids import new_id
from market.resources import Unit
from market.states import JobState, Reason
from scheduler.rounds import placing
from scheduler.tables import Gpu, Job, Lease, Node, NodeState, Offer, Pool, Provider

NODES, GPUS, JOBS, PROVIDERS = 2500, 8, 20_000, 50
ROWS_AT_ONCE = 2500
GIB = 1 << 30


def durable_per_second() -> float:
    """Leases committed a second; GPUs for all of the jobs are there."""
    with ExitStack() as ends:
        database = Database(ends.enter_context(ephemeral_postgres(durable=True)))
        ends.callback(database.dispose)
        with database.engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
            migrations.upgrade(connection)
        now = datetime.now(UTC)
        with database.transaction() as session:
            _fill(session, now)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        began = time.perf_counter()
        placed = placing.run(database, SystemClock(), limit=settings().placement_round_max, seconds_max=600)
        seconds = time.perf_counter() - began
        with database.read() as session:
            leases = session.scalar(select(func.count()).select_from(Lease))
        assert placed == leases, (placed, leases)
        print(f"{leases:,} of {JOBS:,} jobs leased on {NODES:,} nodes in {seconds:.2f} s", flush=True)
        return placed / seconds


def _fill(session: Session, now: datetime) -> None:
    owners = [new_id("prv") for _ in range(PROVIDERS)]
    _insert(session, Provider, [{"id": owner, "name": "bench", "created_at": now} for owner in owners])
    nodes = [_node(at, owners[at % PROVIDERS], now) for at in range(NODES)]
    _insert(session, Node, nodes)
    gpus = [
        {
            "node_id": node["id"],
            "uuid": f"{node['id']}-{index}",
            "index": index,
            "model": "NVIDIA H100",
            "memory_bytes": 80 * GIB,
        }
        for node in nodes
        for index in range(GPUS)
    ]
    _insert(session, Gpu, gpus)
    _insert(session, Offer, [_offer(at, node, now) for at, node in enumerate(nodes)])
    _insert(session, Job, [_job(now) for _ in range(JOBS)])


def _insert(session: Session, into: type, rows: Sequence[dict[str, object]]) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        insert_rows(session, into, rows[start : start + ROWS_AT_ONCE])


def _node(at: int, owner: str, now: datetime) -> dict[str, object]:
    return {
        "id": new_id("node"),
        "provider_id": owner,
        "public_key": f"{at:064x}",
        "name": f"node{at}",
        "hostname": f"node{at}",
        "state": NodeState.ONLINE,
        "pool": Pool.READY,
        "simulated": False,
        "sandbox": "none",
        "agent_version": "bench",
        "cpu_total_milli": 96_000,
        "cpu_free_milli": 96_000,
        "memory_total_bytes": 512 * GIB,
        "memory_free_bytes": 512 * GIB,
        "disk_total_bytes": 4096 * GIB,
        "disk_free_bytes": 4096 * GIB,
        "joined_at": now,
        "last_seen_at": now,
    }


def _offer(at: int, node: dict[str, object], now: datetime) -> dict[str, object]:
    return {
        "id": new_id("offer"),
        "provider_id": node["provider_id"],
        "node_id": node["id"],
        "unit": Unit.GPU,
        "model": "NVIDIA H100",
        "price_microusd_per_unit_hour": 300_000 + 50_000 * (at % 5),
        "started_at": now,
    }


def _job(now: datetime) -> dict[str, object]:
    return {
        "id": new_id("job"),
        "organization_id": "org_bench",
        "name": "bench",
        "spec": {},
        "unit": Unit.GPU,
        "quantity_milli": 1000,
        "price_limit_microusd_per_unit_hour": 600_000,
        "simulated": False,
        "cpu_milli": 4000,
        "memory_bytes": 16 * GIB,
        "disk_bytes": GIB,
        "gpu_count": 1,
        "max_duration_seconds": 3600,
        "state": JobState.QUEUED,
        "reason": Reason.QUEUED_FOR_PLACEMENT,
        "funded_seconds": 900,
        "created_at": now,
    }


if __name__ == "__main__":
    print(f"{durable_per_second():,.0f} a second")
