"""`python broker_worker.py FOLDER`: the worker of a market; its tasks note in a folder whose request they run for."""

import sys
from pathlib import Path
from threading import Event

from gridbay.processes import worker
from infra.bus.tasks import app, task
from infra.logging import current_trace

FOLDER = Path(sys.argv[1])
# A lost task comes back from Redis after this; a test does not wait as long as a market.
VISIBILITY_SECONDS = 3
if "visibility_timeout" in app.conf.broker_transport_options:
    app.conf.broker_transport_options["visibility_timeout"] = VISIBILITY_SECONDS


@task("engines.note")
def note(name: str) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(f"{current_trace()}\n")


@task("engines.hold")
def hold() -> None:
    """Never ends, the first time."""
    first = not (FOLDER / "hold").exists()
    note("hold")
    if first:
        Event().wait()


@task("engines.backlog")
def backlog() -> None:
    note("backlog")


@task("engines.upkeep", every=2)
def upkeep() -> None:
    """Notes how much of the backlog had been done."""
    done = len((FOLDER / "backlog").read_text().splitlines()) if (FOLDER / "backlog").exists() else 0
    (FOLDER / "upkeep").write_text(f"{done}\n")


@task("engines.tick", every=2)
def tick() -> None:
    note("tick")


worker.main()
