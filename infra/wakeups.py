"""Wake-ups: topics named in a transaction and told through the cache after its commit. Never the truth, only a nudge.

Topics: node:{id} (desired state changed), job:{id}, organization:{id} (a job of it changed), log:{job id},
over:{job id} (the job ended, or a bill of it did).
"""

from collections.abc import Iterable

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
    """Tells topics through Redis pub/sub. A cache that is down costs its listeners a poll, never correctness."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._client, self._channel = client, channel

    def __call__(self, topics: Iterable[str]) -> None:
        try:
            self._client.publish(self._channel, "\n".join(sorted(topics)))
        except redis.RedisError as error:
            log.warning("wake_failed", error=str(error))
