"""Forks processes of the product from one that has loaded everything: a start costs little CPU instead of two seconds.

    python -P nursery.py        (with the environment of the processes to be)

Reads a line of JSON for each: {"module": its `main` is run, "environment": more variables, "log": path}. Writes the
process ids as they begin (`+PID`) and end (`-PID STATUS`). Each child leads a session, and dies with the nursery.
"""

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
from selectors import EVENT_READ, DefaultSelector

LOADED = (
    "portal_api.app",
    "gridbay.processes.draining",
    *(f"gridbay.processes.{name}" for name in ("api", "relay", "consumer", "beat", "worker")),
    "celery.apps.worker",
    "celery.apps.beat",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "kombu.transport.pyamqp",
    "gunicorn.arbiter",
    "sqlalchemy.dialects.postgresql.psycopg",
)
_PR_SET_PDEATHSIG = 1
DESCRIPTORS_MAX = 256


def main() -> None:
    for module in LOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    with DefaultSelector() as selector:
        selector.register(0, EVENT_READ)
        selector.register(woken, EVENT_READ)
        unread = b""
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if woken in ready:
                os.read(woken, 4096)
                _reap()
            if 0 in ready:
                read = os.read(0, 65536)
                if not read:
                    return
                *orders, unread = (unread + read).split(b"\n")
                for order in orders:
                    _fork(**json.loads(order))


def _reap() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _say(f"-{pid} {os.waitstatus_to_exitcode(status)}")


def _fork(module: str, environment: dict[str, str], log: str) -> None:
    if os.fork():
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    # From here on there is a process group to be killed.
    _say(f"+{os.getpid()}")
    nothing, output = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor, file in ((0, nothing), (1, output), (2, output)):
        os.dup2(file, descriptor)
    os.closerange(3, DESCRIPTORS_MAX)
    os.environ.update(environment)
    sys.argv = [module]
    status = 1
    try:
        importlib.import_module("market.failpoints").arm()
        importlib.import_module(module).main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1 if end.code else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    main()
