"""The long poll: it is the heartbeat, it tells what is here, and its answer is what is wanted here."""

import asyncio
from datetime import UTC, datetime

import structlog

from market.agent_api import PollRequest
from provider_agent.attempts.means import Launcher
from provider_agent.attempts.registry import Registry
from provider_agent.conversation import Conversation, Polled, Refused, Unreachable
from provider_agent.minder.layout import boot_id, boottime_ns
from provider_agent.pacing import Backoff
from provider_agent.spool import Spool
from provider_agent.telemetry import POLLS

WAIT_SECONDS = 10.0
SILENCE_MOST_SECONDS = 5.0
"""A node that is silent for half a minute counts as lost, so nobody waits long with the next try."""
HURRIED_SECONDS = 0.05
EARLY_SECONDS = 1.0
GATHER_SECONDS, GATHER_SECONDS_MAX = 0.04, 0.08
GATHER_ATTEMPT_SECONDS = 0.01
"""After news the next question waits the first of these: what begins goes first, what comes close together shares a
poll, and the end of the shortest work is told before. Longer on a node with many attempts, by so much for each."""
UNREADY_SECONDS = 1.0
"""While the pool starts the portal is told often, so that work comes as soon as it can."""

_log = structlog.get_logger(__name__)


class Polling:
    """One poll after the other, for ever."""

    def __init__(self, conversation: Conversation, registry: Registry, spool: Spool, launcher: Launcher) -> None:
        self._conversation = conversation
        self._registry = registry
        self._spool = spool
        self._launcher = launcher
        self._version = 0
        self.clock_off_seconds: float | None = None
        self.answered = asyncio.Event()

    async def run(self, wait_seconds: float = WAIT_SECONDS) -> None:
        """Raises Unauthenticated when the node's credential is no good; nothing else ends it."""
        backoff = Backoff(most_seconds=SILENCE_MOST_SECONDS)
        wait = 0.0
        while True:
            try:
                polled = await self._poll(wait)
            except (Unreachable, Refused) as error:
                POLLS.labels("unanswered").inc()
                # The jobs run on: their leases are their only clock.
                _log.warning("the portal does not answer; trying again", error=error.detail)
                wait = 0.0
                await asyncio.sleep(backoff.next_seconds(getattr(error, "retry_after", 0.0)))
                continue
            POLLS.labels("answered").inc()
            news = polled.answer.version != self._version
            self._take(polled)
            hurried = wait > 0 and not news and polled.waited_seconds < HURRIED_SECONDS
            if hurried:
                await asyncio.sleep(backoff.next_seconds())
            else:
                backoff.reset()
            if news:
                many = GATHER_ATTEMPT_SECONDS * len(polled.answer.attempts)
                await asyncio.sleep(min(max(many, GATHER_SECONDS), GATHER_SECONDS_MAX))
            patience = wait_seconds if self._launcher.state == "ready" else min(wait_seconds, UNREADY_SECONDS)
            # An answer that was long on its way makes its deadlines early by that: ask again at once, for exact ones.
            wait = 0.0 if news and polled.is_early(boottime_ns(), EARLY_SECONDS) else patience

    async def _poll(self, wait: float) -> Polled:
        request = PollRequest(
            boot_id=boot_id(),
            seen_version=self._version,
            wait_seconds=wait,
            pool=self._launcher.state,
            streams=self._spool.waiting,
            known=self._registry.known(),
        )
        return await self._conversation.poll(request)

    def _take(self, polled: Polled) -> None:
        answer = polled.answer
        self._registry.apply(answer.attempts, polled.leases_from_ns)
        self._spool.settle(answer.durable_through)
        self._version = answer.version
        self.answered.set()
        self.clock_off_seconds = abs((datetime.now(UTC) - answer.server_time.astimezone(UTC)).total_seconds())
