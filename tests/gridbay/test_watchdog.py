"""A worker that hears nothing ends itself in order; one that is busy, or hears, does not."""

import subprocess
import sys

DEAF = """
import signal, sys
from gridbay.processes.watchdog import Watchdog
from celery.worker import state

def told(*_):
    print("SIGTERM", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, told)
class Busy:
    pass

busy = Busy()
if "busy" in sys.argv:
    state.reserved_requests.add(busy)
Watchdog(silent_seconds=0.1).start()
print("watched", flush=True)
for line in sys.stdin:
    state.reserved_requests.discard(busy)
    print("idle", flush=True)
    signal.pause()
"""


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DEAF, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_deaf_worker_asks_itself_to_end() -> None:
    with start() as worker:
        assert worker.stdout is not None
        first, *_, last = worker.stdout
        assert (first, last) == ("watched\n", "SIGTERM\n")
        assert worker.wait(20) == 0


def test_a_busy_worker_is_not_deaf_until_it_is_idle() -> None:
    with start("busy") as worker:
        assert worker.stdin is not None and worker.stdout is not None
        assert worker.stdout.readline().strip() == "watched"
        worker.stdin.write("done\n")
        worker.stdin.flush()
        first, *_, last = worker.stdout
        assert (first, last) == ("idle\n", "SIGTERM\n")
