"""The relay: carries due deliveries and wake-ups from the database to the broker, as its own process.

It listens for the commit and sweeps a few times a second besides: for what has patience, and so that nothing rests on
a notification. A wake-up alone brings no sweep: what has patience would come in ones, beside the very work that was
asked for.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from threading import Event

import psycopg
import structlog

from infra import telemetry
from infra.database import Database
from infra.outbox.delivery import CLAIM_MAX, by_subscriber, claim
from infra.outbox.publishing import OUTBOX_CHANNEL, WAKE_CHANNEL
from market.clock import Clock
from market.failpoints import failpoint

log = structlog.get_logger(__name__)
SWEEP_SECONDS = 0.25
RETRY_SECONDS = 1.0
NOTIFIES_MAX = 1000

SendDue = Callable[[str, list[int]], None]
SendWake = Callable[[str], None]


class Relay:
    """send_due(subscriber, message ids) and send_wake(task) put a task on the broker; they may raise."""

    def __init__(self, database: Database, clock: Clock, *, send_due: SendDue, send_wake: SendWake) -> None:
        self._database, self._clock = database, clock
        self._send_due, self._send_wake = send_due, send_wake

    def run(self, stop: Event) -> None:
        """Relay until `stop` is set. A database or broker that is away is waited for, a second at a time."""
        while not stop.is_set():
            try:
                self._listen(stop)
            except (psycopg.Error, OSError) as error:
                log.warning("relay_interrupted", error=str(error).strip())
                stop.wait(RETRY_SECONDS)

    def sweep(self) -> int:
        """Send everything that is due, once; returns how many deliveries went out."""
        sent = 0
        while True:
            with self._database.transaction() as session:
                due = claim(session, self._clock.now())
            failpoint("relay.claimed")
            for subscriber, message_ids in by_subscriber(due).items():
                self._send_due(subscriber, message_ids)
            failpoint("relay.sent")
            sent += len(due)
            telemetry.RELAYED.inc(len(due))
            if len(due) < CLAIM_MAX:
                return sent

    def _listen(self, stop: Event) -> None:
        with _connection(self._database) as connection:
            connection.execute(f"LISTEN {OUTBOX_CHANNEL}")
            connection.execute(f"LISTEN {WAKE_CHANNEL}")
            sweep_at = 0.0
            while not stop.is_set():
                heard = _heard(connection, max(0.0, sweep_at - time.monotonic()))
                # A wake-up is what somebody waits for; it goes before the deliveries of the same commit.
                for task in heard.tasks:
                    self._guarded(partial(self._send_wake, task))
                if heard.deliveries or time.monotonic() >= sweep_at:
                    self._guarded(self.sweep)
                    sweep_at = time.monotonic() + SWEEP_SECONDS

    def _guarded(self, send: Callable[[], object]) -> None:
        """A broker that refuses costs a resend later: every delivery has its row, every wake-up its beat."""
        try:
            send()
        except psycopg.Error:
            raise
        except Exception as error:
            telemetry.RELAY_FAILURES.inc()
            log.warning("relay_send_failed", error=f"{type(error).__name__}: {error}")


def _connection(database: Database) -> psycopg.Connection[tuple[object, ...]]:
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


@dataclass(frozen=True, slots=True)
class _Heard:
    """tasks: those asked for; deliveries: whether there are some that want to go at once."""

    tasks: set[str]
    deliveries: bool


def _heard(connection: psycopg.Connection[tuple[object, ...]], seconds: float) -> _Heard:
    """What was notified; returns at the first notification of any kind, or after so long."""
    first: Iterator[psycopg.Notify] = connection.notifies(timeout=seconds, stop_after=1)
    batch = list(first) + list(islice(connection.notifies(timeout=0), NOTIFIES_MAX))
    return _Heard(
        tasks={notify.payload for notify in batch if notify.channel == WAKE_CHANNEL},
        deliveries=any(notify.channel == OUTBOX_CHANNEL for notify in batch),
    )
