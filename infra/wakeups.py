"""Wake-ups: topics named in a transaction and told through the cache after its commit. Never the truth, only a nudge.

Topics: node:{id} (desired state changed), job:{id}, organization:{id} (a job of it changed), log:{job id},
over:{job id} (the job ended, or a bill of it did).
"""

import secrets
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import redis
import structlog
from sqlalchemy.orm import Session

log = structlog.get_logger(__name__)
_KEY = "gridbay.topics"


def after_commit(session: Session, *topics: str) -> None:
    """Wake whoever waits for these topics, once this transaction has committed."""
    session.info.setdefault(_KEY, set()).update(topics)


def pending_topics(session: Session) -> set[str]:
    """The topics of a committed session; asking clears them."""
    topics: set[str] = session.info.pop(_KEY, set())
    return topics


class Waker:
    """Tells topics through Redis pub/sub. A cache that is down costs its listeners a poll, never correctness.

    A message is the teller's name and the topics, a line each.
    """

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self.name = secrets.token_hex(8)
        self._client, self._channel = client, channel
        self._nearby: Callable[[Collection[str]], None] | None = None
        self._far: set[str] = set()
        self._lock = Lock()
        self._lane: ThreadPoolExecutor | None = None

    def __call__(self, topics: Collection[str]) -> None:
        if self._nearby is not None:
            self._nearby(topics)
        with self._lock:
            asked = bool(self._far)
            self._far.update(topics)
            lane = self._lane
            if lane is not None and not asked:
                lane.submit(self._publish_far)
        if lane is None:
            self._publish_far()

    def listen(self, nearby: Callable[[Collection[str]], None]) -> None:
        """From now on `nearby` is told at once, in the thread that committed, and the others meanwhile: nobody's answer
        waits for the cache."""
        with self._lock:
            self._nearby, self._lane = nearby, self._lane or ThreadPoolExecutor(1, "waker")

    def stop(self) -> None:
        """Tell what is left to be told. Who commits after this tells it itself."""
        with self._lock:
            self._nearby, lane, self._lane = None, self._lane, None
        if lane is not None:
            lane.shutdown()

    def _publish_far(self) -> None:
        with self._lock:
            topics, self._far = self._far, set()
        if topics:
            self._publish(topics)

    def _publish(self, topics: Collection[str]) -> None:
        try:
            self._client.publish(self._channel, "\n".join([self.name, *sorted(topics)]))
        except redis.RedisError as error:
            log.warning("wake_failed", error=str(error))
