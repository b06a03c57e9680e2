"""Rounds on record: decided again they agree, what was changed of them shows, and they are not kept for ever."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from market_world import World
from sqlalchemy import select, text

from infra.database import Database
from market.clock import ManualClock
from market.errors import NotFound
from market.resources import Unit
from scheduler.placement.facts import NodeFacts, OfferFacts, Part
from scheduler.placement.record import values
from scheduler.placement.record.round import digest
from scheduler.placement.requests import Request
from scheduler.rounds import placing, records
from scheduler.rounds.queueing import Walk
from scheduler.tables import Node, PlacementRound

H100 = "NVIDIA H100"
Step = Callable[[World], object]


@pytest.fixture
def rounds(database: Database, clock: ManualClock) -> Callable[..., None]:
    """Hold a round after each of these steps, each in its transaction."""

    def hold(*steps: Step) -> None:
        for at, step in enumerate(steps):
            clock.advance(timedelta(seconds=1))
            with database.transaction() as session:
                step(World(session, clock))
            with database.transaction() as session:
                placing.place(session, clock, Walk(100), seed=f"seed{at}")

    return hold


def market(world: World) -> None:
    for _ in range(3):
        world.node([H100] * 2, gpu_price=200_000)
    wanted(3)(world)


def wanted(gpu_jobs: int, gpus: int = 1) -> Step:
    def submit(world: World) -> None:
        for _ in range(gpu_jobs):
            world.job(resources={"gpu": gpus}, budget={"max_price": 1})

    return submit


def cheaper(world: World) -> None:
    world.session.execute(text("UPDATE offers SET price_microusd_per_unit_hour = 5 WHERE unit = 'gpu'"))
    wanted(1)(world)


def joined(world: World) -> None:
    world.node([H100] * 8)
    wanted(2)(world)


def test_every_round_agrees_when_it_is_decided_again(database: Database, rounds: Callable[..., None]) -> None:
    rounds(market, wanted(1), cheaper, wanted(2, gpus=2), wanted(2), joined, wanted(3))
    with database.read() as session:
        kept = records.recorded(session)
        verdicts = [records.replay(session, one.id) for one in kept]
        assert len(kept) == 6  # one of them placed nothing
        assert all(verdict.agrees for verdict in verdicts)
        assert [one.placed for one in reversed(kept)] == [3, 1, 1, 1, 5, 1]
        # What changed alone is written, but where nodes came.
        assert [one.number for one in reversed(kept)] == [0, 1, 2, 3, 0, 1]


def test_a_record_that_was_changed_or_left_out_shows(database: Database, rounds: Callable[..., None]) -> None:
    rounds(market, wanted(1), wanted(1))
    with database.read() as session:
        newest, middle, _ = records.recorded(session)
    with database.transaction() as session:
        session.get_one(PlacementRound, middle.id).digest = digest("", b"")
    with database.read() as session:
        assert not records.replay(session, newest.id).sound
    with database.transaction() as session:
        session.delete(session.get_one(PlacementRound, middle.id))
    with database.read() as session:
        assert not records.replay(session, newest.id).sound
        with pytest.raises(NotFound, match="no such round"):
            records.replay(session, middle.id)


def test_a_round_that_is_not_committed_leaves_no_gap(
    database: Database, clock: ManualClock, rounds: Callable[..., None]
) -> None:
    rounds(market)
    with pytest.raises(RuntimeError), database.transaction() as session:
        wanted(1)(World(session, clock))
        placing.place(session, clock, Walk(100), seed="lost")
        raise RuntimeError
    rounds(wanted(1), wanted(1))
    with database.read() as session:
        kept = records.recorded(session)
        assert [one.number for one in reversed(kept)] == [0, 0, 1]
        assert all(records.replay(session, one.id).agrees for one in kept)


def test_a_decision_that_was_not_the_engines_does_not_agree(
    database: Database, rounds: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = placing._engine.choose

    def favouring(*arguments: object) -> object:
        choice = honest(*arguments)  # type: ignore[arg-type]
        choice.decisions.reverse()
        return choice

    monkeypatch.setattr(placing._engine, "choose", favouring)
    rounds(market)
    with database.read() as session:
        (kept,) = records.recorded(session)
        verdict = records.replay(session, kept.id)
    assert (verdict.sound, verdict.agrees) == (True, False)


def test_old_chains_go_whole_and_so_do_the_oldest_of_too_much(
    database: Database, clock: ManualClock, rounds: Callable[..., None]
) -> None:
    rounds(market, wanted(1))
    clock.advance(records.CHAIN_FOR)
    rounds(wanted(1))
    with database.transaction() as session:
        assert records.forget(session, clock.now()) == 0
        newest = records.recorded(session)[0]
        assert records.forget(session, clock.now(), bytes_max=newest.size_bytes) == 2
        assert [one.id for one in records.recorded(session)] == [newest.id]
        clock.advance(records.KEPT_FOR + timedelta(seconds=1))
        assert records.forget(session, clock.now()) == 1


def test_rounds_that_place_nothing_are_recorded_once_a_minute(
    database: Database, clock: ManualClock, rounds: Callable[..., None]
) -> None:
    rounds(market, *[wanted(1, gpus=8)] * 5)
    clock.advance(records.IDLE_EVERY)
    rounds(lambda world: world.session.scalars(select(Node)).all())
    with database.read() as session:
        kept = records.recorded(session)
        assert [one.placed for one in kept] == [0, 3]
        assert all(records.replay(session, one.id).agrees for one in kept)


def test_a_record_of_before_a_fact_was_told_is_read_with_its_default() -> None:
    node = NodeFacts("node_1", "prv_1", "amber", True, True, False, 1, 1, 1, 1, 1, 1, labels=frozenset({"ssd"}))
    offer = OfferFacts("off_1", "node_1", Unit.GPU, H100, 1, 2, (7,), 5, parts=(Part(8, "org_1", 500),))
    request = Request("job_1", Unit.CPU, None, 1, 1, 1, None, False)
    assert values.node_of(values.node_values(node)) == node
    assert values.node_of(values.node_values(node)[:-1]) == node
    assert values.offer_of(values.offer_values(offer)) == offer
    assert values.offer_of(values.offer_values(offer)[:-1]) == offer
    assert values.request_of("job_1", values.request_values(request)[:-1]) == request
