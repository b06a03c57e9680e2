"""The provider's Ray pool as the launcher of attempts: started, kept alive, and waited for where that is sensible."""

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from provider_agent.attempts.means import Needs, PoolState
from provider_agent.conversation import Unreachable
from provider_agent.minder.launcher import AlreadyStarted, LaunchFailed
from provider_agent.pacing import Backoff
from provider_agent.pool.asking import LaunchRefused, NoCapacity
from provider_agent.pool.cluster import RESERVE_SECONDS_MAX, Mended, Pool
from provider_agent.pool.head import PoolUnavailable

LOOK_SECONDS = 3.0
READY_SECONDS_MAX = 30.0
AHEAD_SECONDS_MAX = 0.5
"""What is not free by then is waited for by the launch."""
START_AGAIN_MOST_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class PoolLauncher:
    """Keeps one pool; `run` is its whole life, the rest asks it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._state: PoolState = "starting"
        self._ready = asyncio.Event()
        self._to_adopt: dict[str, Needs] = {}
        self._expected: dict[str, asyncio.Task[None]] = {}

    @property
    def state(self) -> PoolState:
        return self._state

    async def run(self) -> None:
        """Start the pool and mend it for ever. Jobs that run do not notice: their minders need no pool."""
        backoff = Backoff(1.0, START_AGAIN_MOST_SECONDS)
        started = False
        try:
            while True:
                try:
                    if not started:
                        await self._pool.start()
                        started = True
                    care = await self._pool.ensure_alive()
                    for attempt_id, why in care.lost.items():
                        _log.warning("a reservation could not be made again", attempt_id=attempt_id, why=why)
                    if care.mended is not Mended.NOTHING:
                        _log.warning("the pool was mended", what=care.mended)
                    await self._adopt()
                except PoolUnavailable as error:
                    self._set_state("down" if started else "starting")
                    _log.warning("the pool cannot serve; trying again", error=str(error))
                    await asyncio.sleep(backoff.next_seconds())
                    continue
                self._set_state("ready")
                backoff.reset()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._set_state("down")
            await self._pool.stop()

    def expect(self, needs: Needs) -> None:
        if self._state == "ready" and needs.attempt_id not in self._expected:
            self._expected[needs.attempt_id] = asyncio.create_task(self._reserve_ahead(needs))

    async def launch(self, attempt_dir: Path, needs: Needs) -> None:
        await self._reserved_ahead(needs.attempt_id)
        try:
            await asyncio.wait_for(self._ready.wait(), READY_SECONDS_MAX)
            fresh = await self._pool.reserve_and_launch(
                needs.attempt_id,
                attempt_dir,
                cpus=needs.cpu_milli / 1000,
                memory_bytes=needs.memory_bytes,
                gpu_uuids=needs.gpu_uuids,
            )
        except (TimeoutError, PoolUnavailable) as error:
            raise Unreachable(f"the pool cannot serve: {error or 'it is not ready'}") from error
        except (NoCapacity, LaunchRefused) as error:
            raise LaunchFailed(str(error)) from error
        if not fresh:
            raise AlreadyStarted(f"{attempt_dir} was started before")

    def adopt(self, needs: Needs) -> None:
        self._to_adopt[needs.attempt_id] = needs

    async def release(self, attempt_id: str) -> None:
        self._to_adopt.pop(attempt_id, None)
        await self._reserved_ahead(attempt_id)
        try:
            await self._pool.release(attempt_id)
        except PoolUnavailable as error:
            raise Unreachable(f"the pool cannot serve: {error}") from error

    async def _reserve_ahead(self, needs: Needs) -> None:
        """What fails here is told by the launch, which asks again."""
        with suppress(PoolUnavailable, NoCapacity):
            await self._reserve(needs, AHEAD_SECONDS_MAX)

    async def _reserved_ahead(self, attempt_id: str) -> None:
        """Whoever launches or releases waits for what is under way, so that nothing is reserved behind its back."""
        expected = self._expected.get(attempt_id)
        if expected is not None:
            await asyncio.wait({expected})
            self._expected.pop(attempt_id, None)

    async def _reserve(self, needs: Needs, seconds_max: float = RESERVE_SECONDS_MAX) -> None:
        await self._pool.reserve(
            needs.attempt_id,
            cpus=needs.cpu_milli / 1000,
            memory_bytes=needs.memory_bytes,
            gpu_uuids=needs.gpu_uuids,
            seconds_max=seconds_max,
        )

    def _set_state(self, state: PoolState) -> None:
        if state != self._state:
            _log.info("pool", state=state)
        self._state = state
        if state == "ready":
            self._ready.set()
        else:
            self._ready.clear()

    async def _adopt(self) -> None:
        while self._to_adopt:
            attempt_id, needs = next(iter(self._to_adopt.items()))
            try:
                await self._reserve(needs)
            except NoCapacity as error:
                _log.warning("an adopted attempt has no place in the pool's books", why=str(error), **_named(needs))
            if self._to_adopt.get(attempt_id) is needs:
                del self._to_adopt[attempt_id]


def _named(needs: Needs) -> dict[str, object]:
    return {"attempt_id": needs.attempt_id, "gpus": list(needs.gpu_uuids), "cpu_milli": needs.cpu_milli}
