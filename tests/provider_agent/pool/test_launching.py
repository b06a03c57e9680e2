"""Reserving ahead: while an attempt is prepared its resources are reserved; nothing is reserved behind a release."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provider_agent.attempts.means import Needs
from provider_agent.launching import PoolLauncher
from provider_agent.pool.asking import NoCapacity
from provider_agent.pool.cluster import Care, Mended

NEEDS = Needs("att_1", ("GPU-a",), 500, 2**30)


class Books:
    """A pool that says yes, each reservation once it is let; `refuses` while it has no room."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.may_reserve = asyncio.Event()
        self.refuses = False

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def ensure_alive(self) -> Care:
        return Care(Mended.NOTHING, {})

    async def reserve(self, attempt_id: str, **_: Any) -> None:
        await self.may_reserve.wait()
        self.told.append(f"reserved {attempt_id}")
        if self.refuses:
            raise NoCapacity("taken")

    async def reserve_and_launch(self, attempt_id: str, _: Path, **__: Any) -> bool:
        self.told.append(f"launched {attempt_id}")
        return True

    async def release(self, attempt_id: str) -> bool:
        self.told.append(f"released {attempt_id}")
        return True


class Node:
    """A launcher that is ready, on one event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.books = Books()
        self.launcher = PoolLauncher(self.books)  # type: ignore[arg-type]

    def run(self, *steps: str) -> list[str]:
        async def go() -> None:
            life = asyncio.create_task(self.launcher.run())
            while self.launcher.state != "ready":  # noqa: ASYNC110 (turns of the loop, no time)
                await asyncio.sleep(0)
            works: list[asyncio.Task[None]] = []
            for step in steps:
                if step == "expect":
                    self.launcher.expect(NEEDS)
                elif step == "let":
                    self.books.may_reserve.set()
                else:
                    work = self.launcher.launch(Path("att_1"), NEEDS) if step == "launch" else None
                    works.append(asyncio.create_task(work or self.launcher.release(NEEDS.attempt_id)))
                for _ in range(5):
                    await asyncio.sleep(0)
            await asyncio.gather(*works)
            life.cancel()

        self._runner.run(asyncio.wait_for(go(), 20))
        return self.books.told


@pytest.fixture
def node() -> Iterator[Node]:
    with asyncio.Runner() as runner:
        yield Node(runner)


def test_a_launch_waits_for_what_is_being_reserved(node: Node) -> None:
    assert node.run("expect", "expect", "launch", "let") == ["reserved att_1", "launched att_1"]


def test_a_release_waits_for_what_is_being_reserved(node: Node) -> None:
    assert node.run("expect", "release", "let") == ["reserved att_1", "released att_1"]


def test_what_could_not_be_reserved_ahead_is_asked_for_again_by_the_launch(node: Node) -> None:
    node.books.refuses = True
    assert node.run("expect", "let", "launch") == ["reserved att_1", "launched att_1"]


def test_without_a_word_ahead_a_launch_reserves_by_itself(node: Node) -> None:
    assert node.run("launch") == ["launched att_1"]
