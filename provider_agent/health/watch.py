"""A look at the GPUs each second, in the one thread that asks the driver: a hung driver stops this thread alone."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from market.health import GpuMinute
from market.resources import GpuFacts
from provider_agent.gpus.busy import GpuBusy
from provider_agent.gpus.port import Gpus
from provider_agent.gpus.readings import Look, Trouble, XidEvent
from provider_agent.health.minutes import Minutes
from provider_agent.minder.layout import boottime_ns

LOOK_SECONDS = 1.0
FACTS_EVERY_LOOKS = 30
XIDS_KEPT_MAX = 256

_log = structlog.get_logger(__name__)


def boottime_s() -> float:
    return boottime_ns() / 1e9


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest look, and what there is to offer."""

    look: Look
    facts: tuple[GpuFacts, ...]


class GpuWatch:
    """Looks, and hands what it saw to whoever counts it. Everything but `run` answers at once."""

    def __init__(self, gpus: Gpus, facts: list[GpuFacts], clock: Callable[[], float] = boottime_s) -> None:
        self._gpus = gpus
        self._clock = clock
        self._stop = threading.Event()
        self._asked_s: float | None = None
        self._looks = 0
        self._xids: list[XidEvent] = []
        self._lock = threading.Lock()
        self.seen = Seen(Look(), tuple(facts))
        self.looked = False
        self.ever: frozenset[str] = frozenset(fact.uuid for fact in facts)
        self.busy = GpuBusy()
        self._minutes = Minutes()

    def start(self) -> None:
        # A daemon: it must not keep the process when the driver keeps the thread.
        threading.Thread(target=self.run, name="gpus", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Look until it is stopped."""
        before = self._clock()
        while True:
            now = self._clock()
            self.look(now - before)
            before = now
            if self._stop.wait(LOOK_SECONDS):
                return

    def look(self, elapsed_seconds: float) -> None:
        """One look. Whatever goes wrong in it is a look at a driver that does not answer."""
        self._asked_s = self._clock()
        try:
            look = self._gpus.look()
            facts = self.seen.facts
            named = {fact.uuid for fact in facts}
            if self._looks % FACTS_EVERY_LOOKS == 0 or named != look.by_uuid.keys():
                facts = tuple(self._gpus.facts())
        except Exception as error:
            _log.exception("the GPUs could not be looked at")
            look, facts = Look(driver=Trouble.SILENT, driver_words=type(error).__name__), self.seen.facts
        finally:
            self._asked_s = None
        self._looks += 1
        with self._lock:
            self._xids = [*self._xids, *look.xids][-XIDS_KEPT_MAX:]
            self.seen = Seen(look, facts)
            self.ever |= {fact.uuid for fact in facts}
            self._minutes.take(look, self._clock())
        self.busy.take(look, elapsed_seconds)
        self.looked = True

    def newest(self) -> Look:
        """The newest look, with all faults that were reported since this was asked last."""
        with self._lock:
            xids, self._xids = self._xids, []
            return replace(self.seen.look, xids=tuple(xids))

    def minute_to_tell(self) -> list[GpuMinute]:
        """The first minute that the market does not have, of every GPU; empty when there is none."""
        with self._lock:
            return self._minutes.oldest(self._clock())

    def minute_told(self, minutes: list[GpuMinute]) -> None:
        with self._lock:
            self._minutes.told(minutes)

    def hung_seconds(self) -> float:
        """How long the driver has owed an answer."""
        asked = self._asked_s
        return 0.0 if asked is None else self._clock() - asked
