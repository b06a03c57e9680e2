"""The market kept between rounds: whatever anybody committed, the next reading is what a whole one would be."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_world import World
from sqlalchemy import func, select, text

from infra.database import Database
from market.clock import ManualClock
from market.measured import Measure
from market.specs import parse_job_spec
from scheduler.placement.snapshot import Snapshot
from scheduler.rounds import kept, placing, quotes, snapshots, terms
from scheduler.rounds.kept import KeptMarket
from scheduler.rounds.queueing import Walk
from scheduler.tables import Lease, Node, market_changes

H100 = "NVIDIA H100"
KINDS = [Measure.NETWORK_UP.kind, Measure.NETWORK_DOWN.kind]
NEW_LEASE = (
    "INSERT INTO lease_gpus (lease_id, gpu_id, slice) SELECT lease.id, gpu.id, '{[0,1000)}'"
    " FROM leases AS lease, gpus AS gpu WHERE NOT EXISTS (SELECT FROM lease_gpus AS held WHERE held.gpu_id = gpu.id)"
)
NEW_TERMS = (
    "INSERT INTO node_terms (node_id, region, labels, taints, draining, ends_at, open, spot, spot_floor_milli,"
    " changed_at) SELECT id, 'eu', '{ssd=nvme}', '{}', false, NULL, '{}', false, 500, now() FROM nodes LIMIT 1"
)
NEW_SPEEDS = (
    "WITH told AS (INSERT INTO proof_challenges (id, node_id, provider_id, device, cause, barrier_id, together, state,"
    " size, rounds, kept, created_at, starts_at, due_at, engine) SELECT id, id, provider_id, 'node', 'join', '', false,"
    " 'judged', 1, 1, 1, now(), now(), now(), '' FROM nodes RETURNING id) "
    "INSERT INTO benchmarks (node_id, device, kind, value, by_market, challenge_id, measured_at)"
    " SELECT id, 'node', kind, 250000000, false, id, now() FROM told, unnest(cast(:kinds AS text[])) AS kind"
)
BANNED = (
    "INSERT INTO proof_standings (node_id, device, state, failures, misses, passes, slow, score, owners_cleared,"
    " audits, suspicion, cause) SELECT node_id, uuid, 'banned', 0, 0, 0, '', 0, 1, 0, '', 'join' FROM gpus"
)
ROOM = (
    "UPDATE nodes SET cpu_free_milli = cpu_free_milli - 1000",
    "UPDATE nodes SET memory_free_bytes = memory_free_bytes - 1",
    "UPDATE nodes SET disk_free_bytes = disk_free_bytes - 1",
    "UPDATE nodes SET revision = revision + 1",
    "UPDATE lease_gpus SET released_at = now()",
    "DELETE FROM lease_gpus",
    NEW_LEASE,
)
FACTS = (
    "UPDATE nodes SET state = 'lost'",
    "UPDATE nodes SET state = 'gone'",
    "UPDATE nodes SET pool = 'down'",
    "UPDATE nodes SET name = 'other'",
    "UPDATE nodes SET simulated = true",
    "UPDATE nodes SET cpu_total_milli = 1, memory_total_bytes = 2",
    "UPDATE nodes SET disk_total_bytes = 3",
    "UPDATE nodes SET quarantined = true",
    "UPDATE nodes SET barred = true",
    "UPDATE nodes SET verified = true",
    "UPDATE nodes SET driver_version = '550.1'",
    "UPDATE nodes SET cuda_version = '12.4'",
    "UPDATE offers SET price_microusd_per_unit_hour = 7",
    "UPDATE offers SET ended_at = now()",
    "UPDATE offers SET disk_microusd_per_gib_hour = 7",
    "DELETE FROM offers",
    "TRUNCATE offers",
    "UPDATE gpus SET quarantined = true",
    "UPDATE gpus SET present = false",
    "UPDATE gpus SET memory_bytes = 1",
    "UPDATE gpus SET compute_capability = '9.0', nvlinks = 4",
    "TRUNCATE lease_gpus",
    NEW_TERMS,
    NEW_SPEEDS,
    BANNED,
    "INSERT INTO node_records (node_id, well_milli, ill_milli, reliability_milli, learned_at)"
    " SELECT id, 0, 1, 900, now() FROM nodes",
)


@pytest.fixture
def market(database: Database, clock: ManualClock) -> KeptMarket:
    """Two nodes of two GPUs, one of which is leased; read once."""
    with database.transaction() as session:
        world = World(session, clock)
        world.node([H100] * 2)
        world.node([H100] * 2)
        world.job(resources={"gpu": 1})
        world.place()
    found = KeptMarket()
    read(database, found)
    return found


def read(database: Database, market: KeptMarket) -> Snapshot:
    with database.transaction() as session:
        return market.read(session)


def whole(database: Database) -> Snapshot:
    with database.read() as session:
        return snapshots.load(session)


def same(one: Snapshot, other: Snapshot) -> bool:
    return (one.nodes, one.offers) == (other.nodes, other.offers)


def write(database: Database, *statements: str) -> None:
    with database.transaction() as session:
        for statement in statements:
            session.execute(text(statement), {"kinds": KINDS} if ":kinds" in statement else {})


def never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("read whole")

    monkeypatch.setattr(kept.snapshots, "load_until", refuse)
    monkeypatch.setattr(kept.snapshots, "load", refuse)


@pytest.mark.parametrize("statement", ROOM + FACTS)
def test_what_somebody_else_changed_is_read(database: Database, market: KeptMarket, statement: str) -> None:
    before = whole(database)
    write(database, statement)
    now = whole(database)
    assert not same(now, before), "the statement changes something that rounds look at"
    assert same(read(database, market), now)


@pytest.mark.parametrize("statement", ROOM + FACTS)
def test_limits_by_what_is_kept_are_those_by_a_look_at_everything(
    database: Database, market: KeptMarket, statement: str
) -> None:
    wanted = [(parse_job_spec({"run": "true", "resources": {"gpu": count}}), "org_a") for count in (1, 2)]
    offers = quotes.StandingOffers()

    def agree() -> None:
        with database.transaction() as session:
            kept_limits, limits = quotes.limits(session, wanted, offers), quotes.limits(session, wanted)
        assert list(map(str, kept_limits)) == list(map(str, limits))

    agree()
    with contextlib.suppress(ZeroDivisionError), database.transaction() as session:
        session.execute(text("UPDATE offers SET price_microusd_per_unit_hour = 11"))
        quotes.limits(session, wanted, offers)
        raise ZeroDivisionError  # it is rolled back
    agree()
    for one in (ROOM[0], statement, "UPDATE offers SET price_microusd_per_unit_hour = 13"):
        write(database, one)
        agree()


def test_only_what_changed_of_the_room_is_read(
    database: Database, market: KeptMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(database, market)
    write(database, "UPDATE lease_gpus SET released_at = now()")
    now = whole(database)
    never_whole(monkeypatch)
    found = read(database, market)
    assert same(found, now) and not same(found, before)
    kept_nodes = [one is was for one, was in zip(found.nodes, before.nodes, strict=True)]
    assert sorted(kept_nodes) == [False, True], "the other node is the one that was read before"
    assert read(database, market) is found


def test_a_heartbeat_changes_nothing(database: Database, market: KeptMarket, clock: ManualClock) -> None:
    write(database, "DELETE FROM market_changes")
    with database.transaction() as session:
        World(session, clock).beat(*session.scalars(select(Node)).all())
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(market_changes)) == 0


def test_what_was_under_way_at_a_reading_is_read_once_it_commits(database: Database, market: KeptMarket) -> None:
    for savepoint in (False, True):
        with database.transaction() as other:
            if savepoint:
                other.begin_nested()
            other.execute(text("UPDATE nodes SET disk_free_bytes = disk_free_bytes - 1"))
            # Later ones commit before it.
            write(database, "UPDATE gpus SET nvlinks = coalesce(nvlinks, 0) + 1")
            before = read(database, market)
            assert same(read(database, market), before)
        assert not same(read(database, market), before)
        assert same(read(database, market), whole(database))


def test_what_the_reader_itself_writes_afterwards_is_read_by_the_next(database: Database, market: KeptMarket) -> None:
    with database.transaction() as session:
        session.execute(text("SELECT FROM nodes FOR NO KEY UPDATE"))
        # A later transaction ends first: the reader's own number is then one that its snapshot takes for seen.
        write(database, "UPDATE offers SET withdrawn = NOT withdrawn")
        before = market.read(session)
        session.execute(text("UPDATE nodes SET memory_free_bytes = memory_free_bytes - 1"))
    assert not same(read(database, market), before)
    assert same(read(database, market), whole(database))


def test_what_the_reader_wrote_before_is_not_kept(database: Database, market: KeptMarket) -> None:
    before = read(database, market)
    with pytest.raises(RuntimeError), database.transaction() as session:
        session.execute(text("UPDATE nodes SET revision = revision + 1"))
        assert not same(market.read(session), before), "it sees its own"
        raise RuntimeError
    assert same(read(database, market), before)


def test_rounds_of_two_schedulers_see_each_other(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        world.node([H100] * 2)
        world.node([H100] * 2)
    both = KeptMarket(), KeptMarket()
    for turn in range(4):
        with database.transaction() as session:
            World(session, clock).job(resources={"gpu": 1})
        monkeypatch.setattr(placing, "market", both[turn % 2])
        with database.transaction() as session:
            assert placing.place(session, clock, Walk(10), seed="s").placed == 1
    with database.read() as session:
        held = session.scalars(select(Lease.id)).all()
    assert len(held) == 4
    assert all(same(read(database, one), whole(database)) for one in both)


def test_it_is_read_whole_after_a_while_and_when_the_clock_makes_it_untrue(
    database: Database, market: KeptMarket
) -> None:
    found = market._kept
    assert found is not None and found.until is None
    assert found.stands(found.server, found.at + timedelta(seconds=59))
    assert not found.stands(found.server, found.at + kept.KEPT_FOR)
    assert not found.stands(found.server, found.at - timedelta(seconds=1))
    assert not found.stands("another", found.at)
    write(database, NEW_TERMS, "UPDATE node_terms SET ends_at = now() + interval '1 hour'")
    read(database, market)
    found = market._kept
    assert found is not None and found.until is not None
    assert not found.stands(found.server, found.until)


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    part=st.floats(0, 1, exclude_max=True),
    left=st.timedeltas(timedelta(days=-1), timedelta(days=1)),
)
def test_until_then_the_clock_changes_nothing(now: datetime, part: float, left: timedelta) -> None:
    windows, ends_at = ["Mon-Fri 19:00-07:01", "Sat,Sun"], now + left
    step, first = terms._next_step(now), terms._left(ends_at, now)
    moment = timedelta(microseconds=1)
    later = min(now + part * (step - now), step - moment)
    assert terms._open(windows, later) == terms._open(windows, now)
    if first:
        until = ends_at - timedelta(seconds=first)
        assert terms._left(ends_at, min(now + part * (until - now), until - moment)) == first


def test_old_changes_are_forgotten(database: Database, market: KeptMarket) -> None:
    write(database, "UPDATE market_changes SET changed_at = now() - interval '31 minutes'")
    write(database, "UPDATE nodes SET revision = revision + 1")
    with database.transaction() as session:
        assert kept.forget(session) > 0
    with database.transaction() as session:
        assert kept.forget(session) == 0
    assert same(read(database, market), whole(database))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(market_changes)) == 2


class NoClock:
    """Fails whoever asks it, as a database that goes away does in the middle of a round."""

    def now(self) -> datetime:
        raise RuntimeError("no time")


UNTOLD = "SET LOCAL session_replication_role = replica"
"""No trigger runs in that transaction."""


def test_a_fact_that_nobody_told_of_is_read_with_its_nodes_next_room(database: Database, market: KeptMarket) -> None:
    """As after a restored backup: whoever changes a fact gives its node another revision, and rounds go by that."""
    write(database, UNTOLD, "UPDATE offers SET price_microusd_per_unit_hour = 7")
    assert not same(read(database, market), whole(database)), "nobody told of it"
    write(database, "UPDATE nodes SET revision = revision + 1, cpu_free_milli = cpu_free_milli - 1")
    assert same(read(database, market), whole(database))


def test_whatever_was_missed_ends_with_the_next_whole_reading(
    database: Database, market: KeptMarket, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, UNTOLD, "UPDATE offers SET price_microusd_per_unit_hour = 7")
    assert not same(read(database, market), whole(database))
    monkeypatch.setattr(kept, "WHOLE_EVERY", timedelta(0))
    assert same(read(database, market), whole(database))


def test_a_round_that_failed_leaves_nothing_kept(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        World(session, clock).node([H100])
    read(database, placing.market)
    with database.transaction() as session:
        World(session, clock).job(resources={"gpu": 1})
    with pytest.raises(RuntimeError, match="no time"):
        placing.run(database, NoClock(), limit=10)
    assert placing.market._kept is None
