"""All that turns follow from, as plain values: the same competition always comes to the same turns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scheduler.placement.queue.lines import Lines
from scheduler.placement.queue.turns import Running, Turns
from scheduler.placement.queue.waiting import Account, Amounts, Waiting


@dataclass(frozen=True, slots=True)
class Competition:
    """Who waits, for whom else places are held, what organizations are entitled to and hold, and what runs where if
    that matters."""

    waiting: tuple[Waiting, ...]
    beyond: tuple[Waiting, ...]
    accounts: Mapping[str, Account]
    used: Mapping[str, Amounts]
    capacity: Amounts
    now: int
    running: Running = field(default_factory=dict)

    def turns(self) -> Turns:
        """The turns of one round."""
        return Turns(
            Lines(self.waiting),
            self.accounts,
            self.used,
            self.capacity,
            self.now,
            beyond=self.beyond,
            running=self.running,
        )
