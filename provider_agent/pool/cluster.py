"""Owns the pool as its agent sees it: started, kept alive, asked to reserve and launch. asyncio; it never imports ray.

What is running does not depend on it: minders live on while the pool is down, and their reservations are made again
under their own names when it is back. What an attempt gives back is kept for a moment for the next one (`spares.py`).
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from provider_agent.pool import head as heads
from provider_agent.pool.asking import LaunchRefused, NoCapacity, ask, exchange
from provider_agent.pool.head import Head, PoolConfig, PoolUnavailable
from provider_agent.pool.processes import PoolProcess, Watch
from provider_agent.pool.spares import KEPT_SECONDS, Spares
from provider_agent.pool.wire import Ask, Books, Release, Reply, Reservation, Reserve

RESERVE_SECONDS_MAX = 15.0
LAUNCH_SECONDS_MAX = 45.0
ASK_SECONDS_MAX = 15.0
HEALTH_SECONDS_MAX = 10.0
CHILD_START_SECONDS_MAX = 60.0
SICK_LOOKS_MAX = 3  # a pool that cannot answer so often in a row is started anew

log = logging.getLogger(__name__)


class Mended(StrEnum):
    """What `ensure_alive` had to do."""

    NOTHING = "nothing"
    CHILD = "child"
    POOL = "pool"


@dataclass(frozen=True, slots=True)
class Care:
    """The result of one look. lost: attempts whose reservation could not be made again, and why."""

    mended: Mended
    lost: dict[str, str]


@dataclass(slots=True)
class _Holding:
    """What one attempt holds. sure: the head that runs now has it in its books."""

    reservation: Reservation
    sure: bool


class Pool:
    """One provider's pool on this node. Safe to use from many tasks of one event loop."""

    def __init__(self, config: PoolConfig, *, kept_seconds: float = KEPT_SECONDS) -> None:
        self._config = config
        self._head: Head | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._child_watch = Watch([])
        self._mending = asyncio.Lock()
        self._held: dict[str, _Holding] = {}
        self._spares = Spares(config.resources, kept_seconds)
        self._sweeping: asyncio.Task[None] | None = None
        self._unreleased: set[str] = set()
        self._sick_looks = 0
        self._books_empty = False  # since a new head started, until what is held is reserved in it again

    @property
    def warnings(self) -> tuple[str, ...]:
        if self._config.isolate:
            return ()
        return ("Ray's ports listen outside a network namespace: keep a firewall before this machine.",)

    @property
    def head(self) -> Head | None:
        """The running head, None while there is none."""
        return self._head

    async def start(self) -> None:
        """Start head and child (3 to 10 s); what an earlier agent left of its pool is ended first."""
        async with self._mending:
            await self._start_head()
            await self._start_child()
            self._books_empty = False

    async def stop(self) -> None:
        """End every process of the pool. Minders live on."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        async with self._mending:
            await self._end_child()
            await self._end_head()

    async def ensure_alive(self) -> Care:
        """Look, and mend what is dead: call it every few seconds. PoolUnavailable when mending failed: call again."""
        async with self._mending:
            dead = self._head.watch.dead() if self._head else ["the head"]
            if dead or self._sick_looks >= SICK_LOOKS_MAX:
                log.warning("the pool is started anew: %s", f"{dead} died" if dead else "it does not answer")
                await self._start_head()
            if self._child is None or self._child_watch.dead():
                log.warning("the pool's child is gone; a new one takes its place")
                await self._start_child()
                return Care(Mended.POOL, await self._reserve_again()) if self._books_empty else Care(Mended.CHILD, {})
        try:
            await self._ask(Ask(op="health"), HEALTH_SECONDS_MAX)
        except PoolUnavailable:
            self._sick_looks += 1
            raise
        self._sick_looks = 0
        for name in sorted(self._unreleased):
            await self._give_back(name)
        return Care(Mended.NOTHING, {})

    async def reserve_and_launch(
        self,
        attempt_id: str,
        attempt_dir: Path,
        *,
        cpus: float,
        memory_bytes: int,
        gpu_uuids: tuple[str, ...] = (),
    ) -> bool:
        """Reserve for the attempt and start its minder; False when it was started before (adopt it).

        The order must be written. Raises NoCapacity, LaunchRefused, or PoolUnavailable (call it again: a repeat finds
        what the first call left, and never starts an attempt twice).
        """
        wanted = Reservation(name=attempt_id, cpus=cpus, memory_bytes=memory_bytes, gpu_uuids=tuple(sorted(gpu_uuids)))
        holding = await self._holding(wanted)
        try:
            if holding.sure and (launched := await self._launch(attempt_dir)) is not None:
                return launched
            reply = await self._reserve(holding, RESERVE_SECONDS_MAX, attempt_dir)
        except (NoCapacity, LaunchRefused):
            self._held.pop(attempt_id, None)
            await self._give_back(holding.reservation.name)
            raise
        return bool(reply.result["launched"])

    async def reserve(
        self,
        attempt_id: str,
        *,
        cpus: float,
        memory_bytes: int,
        gpu_uuids: tuple[str, ...] = (),
        seconds_max: float = RESERVE_SECONDS_MAX,
    ) -> None:
        """Reserve for an attempt that is launched later, or that already runs and was reserved for in earlier books.

        Raises NoCapacity where that much is not free within that time.
        """
        wanted = Reservation(name=attempt_id, cpus=cpus, memory_bytes=memory_bytes, gpu_uuids=tuple(sorted(gpu_uuids)))
        holding = await self._holding(wanted)
        if not holding.sure:
            await self._reserve(holding, seconds_max)

    async def release(self, attempt_id: str) -> bool:
        """Give back what the attempt held. False when that has to wait for the pool: `ensure_alive` does it then."""
        holding = self._held.pop(attempt_id, None)
        if holding is None:
            return True
        # Who is being reserved for just now may wait for this very room.
        nobody_waits = holding.sure and all(other.sure for other in self._held.values())
        if not nobody_waits or not self._spares.keep(holding.reservation):
            return await self._give_back(holding.reservation.name)
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())
        return True

    async def books(self) -> Books:
        """What Ray itself says is reserved and free."""
        reply = await self._ask(Ask(op="books"), ASK_SECONDS_MAX)
        return Books.model_validate(reply.result)

    async def _holding(self, wanted: Reservation) -> _Holding:
        """What the attempt has, or what another of equal needs gave back, or what is to be reserved for it."""
        if (holding := self._held.get(wanted.name)) is not None:
            return holding
        spare = self._spares.take(wanted)
        if spare is not None:
            holding = self._held[wanted.name] = _Holding(spare, sure=True)
            return holding
        going = self._spares.make_room(wanted, (holding.reservation for holding in self._held.values()))
        holding = self._held[wanted.name] = _Holding(wanted, sure=False)
        for reservation in going:
            await self._give_back(reservation.name)
        return holding

    async def _launch(self, attempt_dir: Path) -> bool | None:
        """Whether the runner started it just now; None when it does not answer: it is called through Ray then."""
        if self._head is None:
            return None
        try:
            async with asyncio.timeout(LAUNCH_SECONDS_MAX):
                answer = json.loads(await exchange(self._head.runner_socket, f"{attempt_dir}\n".encode()))
        except (TimeoutError, OSError, ValueError):
            return None
        if "refused" in answer:
            raise LaunchRefused(answer["refused"])
        return bool(answer["launched"])

    async def _reserve(self, holding: _Holding, seconds_max: float, attempt_dir: Path | None = None) -> Reply:
        head = self._head
        folder = None if attempt_dir is None else str(attempt_dir)
        request = Reserve(reservation=holding.reservation, attempt_dir=folder, seconds_max=seconds_max)
        reply = await self._ask(request, LAUNCH_SECONDS_MAX)
        holding.sure = head is self._head
        return reply

    async def _give_back(self, name: str) -> bool:
        self._unreleased.add(name)
        try:
            await self._ask(Release(name=name), ASK_SECONDS_MAX)
        except PoolUnavailable:
            return False
        self._unreleased.discard(name)
        return True

    async def _sweep(self) -> None:
        """Until no spare is left."""
        while (seconds := self._spares.next_seconds) is not None:
            await asyncio.sleep(seconds)
            for reservation in self._spares.take_expired():
                await self._give_back(reservation.name)

    async def _reserve_again(self) -> dict[str, str]:
        lost: dict[str, str] = {}
        for attempt_id, holding in sorted(self._held.items()):
            try:
                await self._reserve(holding, RESERVE_SECONDS_MAX)
            except (NoCapacity, PoolUnavailable) as error:
                lost[attempt_id] = str(error)
        self._books_empty = False
        return lost

    async def _start_head(self) -> None:
        await self._end_child()
        await self._end_head()
        self._head = await heads.start_head(self._config)
        self._books_empty = True
        self._unreleased.clear()
        self._spares.clear()
        for holding in self._held.values():
            holding.sure = False
        self._sick_looks = 0

    async def _end_head(self) -> None:
        if self._head is not None:
            self._head.watch.close()
            self._head = None
        await asyncio.to_thread(heads.end_leftovers, self._config.folder)

    async def _start_child(self) -> None:
        await self._end_child()
        head = self._head
        if head is None:
            raise PoolUnavailable("the pool has no head")
        module = [sys.executable, "-m", "provider_agent.pool.child", str(head.child_socket), head.address]
        with (self._config.folder / "child.log").open("wb") as output:
            self._child = await asyncio.create_subprocess_exec(
                *head.entrance,
                *module,
                # Its end of this pipe closes with this process: so a killed agent leaves no driver behind.
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=heads.ray_environment(self._config.folder, head.scratch, head.mark),
                start_new_session=True,
            )
        # The event loop learns of a child's death some turns later than a look should know of it.
        self._child_watch = Watch([PoolProcess(self._child.pid, "", "child", module[2])])
        try:
            async with asyncio.timeout(CHILD_START_SECONDS_MAX):
                while not await self._child_answers():
                    if self._child_watch.dead():
                        raise self._child_complaint("ended")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self._end_child()
            raise self._child_complaint(f"did not answer within {CHILD_START_SECONDS_MAX:.0f} s") from None

    async def _child_answers(self) -> bool:
        try:
            await self._ask(Ask(op="health"), HEALTH_SECONDS_MAX)
        except PoolUnavailable:
            return False
        return True

    def _child_complaint(self, what: str) -> PoolUnavailable:
        return PoolUnavailable(f"the pool's child {what}: {heads.last_words(self._config.folder / 'child.log')}")

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        self._child_watch.close()
        # At once: while the head is away ray retries past a SIGTERM, and the child holds nothing.
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()

    async def _ask(self, request: Reserve | Release | Ask, seconds: float) -> Reply:
        if self._head is None:
            raise PoolUnavailable("the pool is not started")
        return await ask(self._head.child_socket, request, seconds)
