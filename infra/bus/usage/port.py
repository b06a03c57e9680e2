"""What billing needs of a usage bus: what was taken arrives, at least once, and nothing goes round for ever."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Protocol

from market.errors import Unavailable

BATCH_MAX = 500
LENGTH_MAX = 1_000_000
"""Messages that wait at most (about 1 GB); beyond that the bus refuses, and agents keep theirs."""
DELIVERIES_MAX = 100
"""How often a message may come back from consumers that died with it; then it is parked."""
RETRY_SECONDS = 1.0
GATHER_SECONDS = 0.1
"""What comes within so long of a batch makes the next one, unless that was full: a merge of one report costs as much as
one of fifty, and nobody waits for it."""


class BusUnavailable(Unavailable):
    """The bus is away or full. What was being published may or may not have been taken: publish it again."""


class HandleLater(Exception):
    """Raised by a handler whose own engine is away: nothing is wrong with the messages."""


@dataclass(frozen=True, slots=True)
class UsageMessage:
    """A report's readings. body: what billing.metering.parcels made of them; received_at: the server's clock."""

    node_id: str
    received_at: datetime
    body: bytes


Handle = Callable[[list[UsageMessage]], None]


class UsageBus(Protocol):
    """At least once, in no promised order; billing's merge does not mind."""

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        """Returns once the bus has them all. Raises BusUnavailable when it may not have them."""

    def consume(self, handle: Handle, stop: Event, batch_max: int = BATCH_MAX) -> None:
        """Hand batches over until `stop` is set; a batch is acknowledged only after `handle` returned.

        If `handle` raises HandleLater the same batch is handed over again, a second later. If it raises anything else
        its messages are handed over singly, and those that fail alone are parked. Raises BusUnavailable: call it again.
        """

    def waiting(self) -> int:
        """How many messages are not acknowledged yet, or about so many. Raises BusUnavailable."""

    def parked(self) -> int:
        """How many messages nobody could handle. Raises BusUnavailable."""

    def close(self) -> None:
        """Leave the engine; whatever was not acknowledged comes again."""
