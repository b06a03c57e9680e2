"""The Celery worker: runs the contexts' tasks; placement has a queue of its own and one round at a time."""

from celery.signals import worker_process_init

from gridbay.processes.contexts import TASKS
from infra.bus.tasks import DEFAULT_QUEUE, PLACE_QUEUE, app
from infra.ground import ground
from infra.logging import configure_logging

CONCURRENCY = 2


def main() -> None:
    """Work until told to stop; a task under way is finished first."""
    level = ground().settings.log_level
    configure_logging("worker", level)
    worker_process_init.connect(_after_fork)
    app.set_default()
    queues = f"{PLACE_QUEUE},{DEFAULT_QUEUE}"
    arguments = ["worker", "--queues", queues, "--concurrency", str(CONCURRENCY), "--loglevel", level]
    app.worker_main([*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat"])


def _after_fork(**_: object) -> None:
    """A child makes connections of its own."""
    ground.cache_clear()


assert TASKS
