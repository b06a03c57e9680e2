"""What the routes of one worker stand on: the engines, the batchers, the threads, the topics and the credentials."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from infra.ground import Ground
from market.agent_api import ReportAnswer
from market.customer_api import JobView
from market.states import JobState
from monitoring.pandas_process import Frames
from portal_api import job_views
from portal_api.agent_polls import Desire, HeartbeatPace, Poll, PollBatches
from portal_api.agent_reports import CheckedReport, NodeKeys, ReportBatches
from portal_api.batchers import Batcher
from portal_api.identity import tokens
from portal_api.identity.credentials import Credentials
from portal_api.identity.idempotency import Answered
from portal_api.identity.tokens import Credential
from portal_api.market_metrics import MarketMetrics
from portal_api.pulse import PortalPulse
from portal_api.standing_watches import StandingWatches
from portal_api.streams import StreamCounter
from portal_api.submissions import Submission, SubmissionBatches
from portal_api.threads import DatabaseThreads
from portal_api.topics import Topics
from scheduler.work import jobs

CONNECTIONS_OF_BATCHERS = 4
THREADS_MIN = 1


@dataclass(frozen=True, slots=True)
class CredentialRead:
    sha256: str


@dataclass(frozen=True, slots=True)
class JobRead:
    organization_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class StateRead:
    organization_id: str
    job_id: str


Read = CredentialRead | JobRead | StateRead
Found = Credential | JobView | JobState | None


class Portal:
    """One for each worker; start and stop it in the event loop that serves."""

    def __init__(self, base: Ground) -> None:
        self.base = base
        self.topics = Topics(base.settings.cache_url.get_secret_value(), base.settings.key("wake"), own=base.waker.name)
        self.watches_of_nodes = StandingWatches(self.topics)
        self.streams = StreamCounter()
        # One connection for each batcher, the rest for the threads: nobody ever waits for a connection.
        self.threads = DatabaseThreads(
            lambda: base.database, max(THREADS_MIN, base.settings.database_pool_size - CONNECTIONS_OF_BATCHERS)
        )
        self.submissions: Batcher[Submission, Answered] = Batcher("submissions", SubmissionBatches(base))
        self.reports: Batcher[CheckedReport, ReportAnswer] = Batcher("reports", ReportBatches(base))
        self.polls: Batcher[Poll, Desire | None] = Batcher("polls", PollBatches(base))
        self.reads: Batcher[Read, Found] = Batcher("reads", self._read)
        self._batchers = (self.submissions, self.reports, self.polls, self.reads)
        self.credentials = Credentials(self._credential, base.clock)
        self.node_keys = NodeKeys(self.threads)
        self.heartbeats = HeartbeatPace()
        self._pulse = PortalPulse(self.polls, self.threads, base.clock)
        self.frames = Frames()
        self.metrics = MarketMetrics()

    def now(self) -> datetime:
        return self.base.clock.now()

    def start(self) -> None:
        for batcher in self._batchers:
            batcher.start()
        self.topics.start()
        self.base.waker.listen(self.topics.wake_soon)
        self._pulse.start()

    def end_waiting(self) -> None:
        """Answer every long poll and end every stream now; their callers come back to another worker."""
        self.topics.end()

    async def stop(self) -> None:
        self.end_waiting()
        await self.topics.stop()
        await self._pulse.stop()
        await asyncio.gather(
            *(asyncio.to_thread(stop) for stop in (*(batcher.stop for batcher in self._batchers), self.threads.stop))
        )
        await asyncio.to_thread(self.base.waker.stop)
        self.base.database.dispose()
        self.base.cache.close()

    async def _credential(self, sha256: str) -> Credential | None:
        found = await self.reads.submit(CredentialRead(sha256))
        return found if isinstance(found, Credential) else None

    def _read(self, items: list[Read]) -> Sequence[Found]:
        """Whatever is to be read by key, all of it in one go."""
        with self.base.database.read() as session:
            digests = [item.sha256 for item in items if isinstance(item, CredentialRead)]
            wanted = [(item.organization_id, item.job_id) for item in items if isinstance(item, JobRead)]
            asked = [(item.organization_id, item.job_id) for item in items if isinstance(item, StateRead)]
            credentials = tokens.find(session, digests) if digests else {}
            views = job_views.load(session, wanted) if wanted else {}
            states = jobs.states(session, asked)

        def found(item: Read) -> Found:
            match item:
                case CredentialRead(sha256):
                    return credentials.get(sha256)
                case JobRead(organization_id, job_id):
                    return views.get((organization_id, job_id))
                case StateRead(organization_id, job_id):
                    return states.get((organization_id, job_id))

        return [found(item) for item in items]


async def the_portal(connection: HTTPConnection) -> Portal:
    portal: Portal = connection.app.state.portal
    return portal


PortalDep = Annotated[Portal, Depends(the_portal)]
