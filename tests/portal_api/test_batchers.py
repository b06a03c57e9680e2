"""Batchers: what gathers shares a transaction, one bad item fails alone, and a full queue says so."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from infra.pace import Pace
from portal_api.batchers import Batcher
from portal_api.problems import Busy


class Doubler:
    """Doubles numbers; refuses negative ones; remembers its batches. Waits at the gate when there is one."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self._gate = gate

    def __call__(self, items: list[int]) -> Sequence[int | BaseException]:
        self.batches.append(items)
        self.entered.set()
        if self._gate is not None:
            assert self._gate.wait(10)
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [item * 2 if item != 13 else LookupError("unlucky") for item in items]


async def _while_first_runs(batcher: Batcher[int, int], doubler: Doubler, items: list[int]) -> list[asyncio.Task[int]]:
    """Tasks for the items; all but the first gather while the first one's batch runs."""
    first = asyncio.create_task(batcher.submit(items[0]))
    assert await asyncio.to_thread(doubler.entered.wait, 10)
    rest = [asyncio.create_task(batcher.submit(item)) for item in items[1:]]
    await asyncio.sleep(0)
    return [first, *rest]


def test_what_gathers_while_a_batch_runs_is_the_next_batch() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        doubler = Doubler(gate)
        batcher: Batcher[int, int] = Batcher("test", doubler)
        batcher.start()
        tasks = await _while_first_runs(batcher, doubler, [1, 2, 3, 4])
        gate.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6, 8]
        assert doubler.batches == [[1], [2, 3, 4]]
        batcher.stop()

    asyncio.run(scenario())


class _HeldPace(Pace):
    """Keeps the next batch waiting until it is let go."""

    asked, let_go = threading.Event(), threading.Event()

    @property
    def wait_seconds(self) -> float:
        self.asked.set()
        assert self.let_go.wait(10)
        return 0.0


def test_what_comes_before_the_pace_lets_a_batch_begin_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal_api.batchers.Pace", _HeldPace)

    async def scenario() -> None:
        doubler = Doubler()
        batcher: Batcher[int, int] = Batcher("test", doubler)
        batcher.start()
        tasks = [asyncio.create_task(batcher.submit(1))]
        assert await asyncio.to_thread(_HeldPace.asked.wait, 10)
        tasks += [asyncio.create_task(batcher.submit(item)) for item in (2, 3)]
        await asyncio.sleep(0)
        _HeldPace.let_go.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6]
        assert doubler.batches == [[1, 2, 3]]
        batcher.stop()

    asyncio.run(scenario())


def test_an_item_that_raises_fails_alone() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        doubler = Doubler(gate)
        batcher: Batcher[int, int] = Batcher("test", doubler)
        batcher.start()
        tasks = await _while_first_runs(batcher, doubler, [1, 2, -3, 13, 4])
        gate.set()
        two, negative, unlucky, four = (await asyncio.gather(*tasks, return_exceptions=True))[1:]
        assert (two, four) == (4, 8)
        assert isinstance(negative, ValueError)
        assert isinstance(unlucky, LookupError)
        assert doubler.batches == [[1], [2, -3, 13, 4], [2], [-3], [13], [4]]
        batcher.stop()

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_a_stopped_batcher_finishes_what_it_took() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        doubler = Doubler(gate)
        batcher: Batcher[int, int] = Batcher("test", doubler, queue_max=2)
        batcher.start()
        tasks = await _while_first_runs(batcher, doubler, [1, 2, 3])
        with pytest.raises(Busy):
            await batcher.submit(4)
        stopping = asyncio.create_task(asyncio.to_thread(batcher.stop))
        gate.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6]
        await stopping
        with pytest.raises(Busy):
            await batcher.submit(5)

    asyncio.run(scenario())


def test_no_batch_is_larger_than_its_bound() -> None:
    async def scenario() -> None:
        gate = threading.Event()
        doubler = Doubler(gate)
        batcher: Batcher[int, int] = Batcher("test", doubler, batch_max=3)
        batcher.start()
        tasks = await _while_first_runs(batcher, doubler, list(range(8)))
        gate.set()
        await asyncio.gather(*tasks)
        assert [len(batch) for batch in doubler.batches] == [1, 3, 3, 1]
        batcher.stop()

    asyncio.run(scenario())
