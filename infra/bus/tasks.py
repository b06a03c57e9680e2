"""The Celery application of every process, and the one way to declare a task.

A task is acknowledged after it ran and is given back when its worker dies, so it may run twice. On `redis://` the
redelivery of a lost task is tuned to seconds; on `amqp://` queues are quorum queues with publisher confirms.
"""

from collections.abc import Callable
from typing import Any

from celery import Celery
from kombu import Queue

from infra.settings import Settings, settings

DEFAULT_QUEUE = "default"
PLACE_QUEUE = "scheduler.place"
"""A task with a queue of its own has the queue's name, so that whoever sends it needs nothing of its package."""
QUEUES = (DEFAULT_QUEUE, PLACE_QUEUE)
TASK_SECONDS_MAX = 25
VISIBILITY_SECONDS = 30


def create_app(config: Settings) -> Celery:
    """The application for the broker that the settings name."""
    broker = config.broker_url.get_secret_value()
    quorum = {"x-queue-type": "quorum"} if broker.startswith("amqp") else {}
    app = Celery("gridbay", broker=broker)
    app.conf.update(
        task_queues=[Queue(name, routing_key=name, queue_arguments=quorum) for name in QUEUES],
        task_default_queue=DEFAULT_QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_soft_time_limit=TASK_SECONDS_MAX,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_detect_quorum_queues=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options=_transport_options(broker),
        timezone="UTC",
        beat_schedule={},
    )
    return app


def _transport_options(broker: str) -> dict[str, Any]:
    if broker.startswith("amqp"):
        return {"confirm_publish": True}
    return {
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
    }


app = create_app(settings())


def task(name: str, *, queue: str = DEFAULT_QUEUE, every: float | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Declare a Celery task. every: seconds between runs by beat, for tasks that read the truth themselves."""

    def declare(function: Callable[..., Any]) -> Any:
        if every is not None:
            # An expired tick is worthless: the next one does the same.
            options = {"queue": queue, "expires": max(every, 1.0)}
            app.conf.beat_schedule[name] = {"task": name, "schedule": every, "options": options}
        return app.task(name=name)(function)

    return declare


def send(name: str, *arguments: Any) -> None:
    """Put a task on the broker by its name."""
    app.send_task(name, args=arguments, queue=name if name in QUEUES else DEFAULT_QUEUE)
