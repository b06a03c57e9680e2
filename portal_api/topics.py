"""Topics: one pub/sub connection a worker fans wake-ups out to whoever waits in this process.

The order is always: watch, then read, wait, read again; so nothing that commits in between is missed. A nudge is
never the truth: without the cache the waiters look for themselves, a little later.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

import redis
import redis.asyncio
import structlog

log = structlog.get_logger(__name__)
BLIND_SECONDS = 1.0
RETRY_SECONDS = 1.0
RECEIVE_SECONDS = 5.0
STOP_ATTEMPTS_MAX, STOP_ATTEMPT_SECONDS = 20, 0.25


class Watch:
    """A wish to be woken by certain topics, from `with` on."""

    def __init__(self, owner: "Topics", topics: Iterable[str]) -> None:
        self._owner, self.topics = owner, tuple(topics)
        self.event = asyncio.Event()

    def __enter__(self) -> "Watch":
        self._owner.register(self)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._owner.unregister(self)

    @property
    def ending(self) -> bool:
        """Whether this process stops, so that who waits should answer with what there is."""
        return self._owner.ending

    async def wait(self, seconds: float) -> bool:
        """Whether it is time to look again before the `seconds` are over. Without the cache that is soon."""
        if self._owner.ending:
            return False
        bound = seconds if self._owner.connected else min(seconds, BLIND_SECONDS)
        try:
            await asyncio.wait_for(self.event.wait(), max(bound, 0))
        except TimeoutError:
            return bound < seconds
        self.event.clear()
        return True


class Topics:
    """Listens for as long as it runs. connected: wake-ups arrive at the moment. ending: nobody waits any more.

    own: who of the channel's tellers is this process, and is heard by `wake_soon` already.
    """

    def __init__(self, url: str, channel: str, own: str = "") -> None:
        self._url, self._channel, self._own = url, channel, own
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watches: dict[str, set[Watch]] = {}
        self._listening: asyncio.Task[None] | None = None
        self.connected = False
        self.ending = False

    def watch(self, *topics: str) -> Watch:
        return Watch(self, topics)

    def register(self, watch: Watch) -> None:
        for topic in watch.topics:
            self._watches.setdefault(topic, set()).add(watch)

    def unregister(self, watch: Watch) -> None:
        for topic in watch.topics:
            watches = self._watches.get(topic, set())
            watches.discard(watch)
            if not watches:
                self._watches.pop(topic, None)

    def wake(self, topics: Iterable[str]) -> None:
        """Wake whoever waits for one of these."""
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.event.set()

    def wake_soon(self, topics: Iterable[str]) -> None:
        """The same, from any thread."""
        if self._loop is not None:
            # Nobody waits in a loop that is closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.wake, topics)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = asyncio.create_task(self._listen(), name="topics")

    def end(self) -> None:
        """Wake everybody for the last time."""
        self.ending = True
        self.wake(list(self._watches))

    async def stop(self) -> None:
        """Stop listening. Python 3.11's wait_for may swallow a cancellation that comes while it connects: ask again."""
        for _ in range(STOP_ATTEMPTS_MAX):
            if self._listening is None or self._listening.done():
                return
            self._listening.cancel()
            await asyncio.wait([self._listening], timeout=STOP_ATTEMPT_SECONDS)

    async def _listen(self) -> None:
        """Stay subscribed; after every gap wake everybody, for what was said meanwhile was not heard."""
        while True:
            try:
                await self._subscribed()
            except (redis.RedisError, OSError) as error:
                if self.connected:
                    log.warning("topics_lost", error=str(error))
            self.connected = False
            self.wake(list(self._watches))
            await asyncio.sleep(RETRY_SECONDS)

    async def _subscribed(self) -> None:
        client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=5, health_check_interval=15)
        async with client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self._channel)
            self.connected = True
            self.wake(list(self._watches))
            while True:
                message = await pubsub.get_message(timeout=RECEIVE_SECONDS)
                if message is not None:
                    teller, *topics = message["data"].decode().split("\n")
                    if teller != self._own:
                        self.wake(topics)
