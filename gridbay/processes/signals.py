"""SIGTERM and SIGINT as an event, for processes that loop."""

import signal
from threading import Event


def stop_event() -> Event:
    """An event that is set at the first SIGTERM or SIGINT."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
