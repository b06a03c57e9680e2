"""The Celery worker: runs the contexts' tasks; placement has a queue of its own and one round at a time."""

import structlog
from celery.signals import worker_process_init
from celery.worker.consumer import Consumer

from gridbay.processes.contexts import TASKS
from gridbay.processes.interpreter import settle_interpreter
from gridbay.processes.watchdog import Watchdog
from infra.bus.tasks import app
from infra.ground import ground
from infra.logging import configure_logging
from infra.telemetry import serve

log = structlog.get_logger(__name__)


def main() -> None:
    """Work until told to stop; a task under way is finished first. Threads are lighter, processes bound its time."""
    config = ground().settings
    configure_logging("worker", config.log_level)
    serve(config.metrics_bind)
    log.info("working", task_modules=len(TASKS), pool=config.worker_pool)
    worker_process_init.connect(_after_fork)
    Watchdog().start()
    app.set_default()
    # No task has a countdown: on RabbitMQ this step would declare 28 queues for delays.
    steps = Consumer.Blueprint.default_steps
    Consumer.Blueprint.default_steps = [step for step in steps if not step.endswith(":DelayedDelivery")]
    arguments = ["worker", "--pool", config.worker_pool]
    arguments += ["--concurrency", str(config.worker_concurrency), "--loglevel", "WARNING"]
    settle_interpreter()
    app.worker_main([*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat"])


def _after_fork(**_: object) -> None:
    """A child makes connections of its own."""
    ground.cache_clear()
