"""The Celery application of every process, and the one way to declare a task.

A task is acknowledged after it ran and is given back when its worker dies, so it may run twice. On `redis://` the
redelivery of a lost task is tuned to seconds; on `amqp://` queues are quorum queues with publisher confirms. Every
key, queue and exchange begins with the market's prefix, so that markets may share a server.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from structlog.contextvars import bound_contextvars

from infra.bus import redis_transport
from infra.logging import current_trace
from infra.settings import Settings, settings
from infra.telemetry import timed_task

DEFAULT_QUEUE = "default"
UPKEEP_QUEUE = "upkeep"
"""Of ticks: they expire, so that behind a long queue none would be run."""
PLACE_QUEUE = "scheduler.place"
"""A task with a queue of its own has the queue's name, so that whoever sends it needs nothing of its package."""
QUEUES = (DEFAULT_QUEUE, UPKEEP_QUEUE, PLACE_QUEUE)
TASK_SECONDS_MAX = 25
VISIBILITY_SECONDS = 30
CONFIRM_SECONDS = 10
TRACE_HEADER = "trace"
"""The customer's request behind a task, where it is one: a task of many messages finds each one's in its row."""
HEARTBEAT_SECONDS = 30
# A sender outlives a connection that broke while it was idle, and gives up soon on a broker that is away: its rows
# are sent again.
PUBLISH_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}


class Broker:
    """The Celery application for the broker that the settings name, and what may be done with it."""

    def __init__(self, config: Settings) -> None:
        self._queues = {name: _queue(config, name) for name in QUEUES}
        self.app = Celery("gridbay", broker=config.broker_url.get_secret_value())
        self.app.conf.update(
            task_queues=list(self._queues.values()),
            task_default_queue=self._queues[DEFAULT_QUEUE].name,
            task_create_missing_queues=False,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_ignore_result=True,
            task_soft_time_limit=TASK_SECONDS_MAX,
            task_serializer="json",
            task_publish_retry_policy=PUBLISH_RETRY,
            accept_content=["json"],
            worker_prefetch_multiplier=1,
            # Quorum queues know no global prefetch. No task has a countdown, so their delayed delivery is not used.
            worker_detect_quorum_queues=True,
            worker_enable_remote_control=False,
            worker_hijack_root_logger=False,
            worker_send_task_events=False,
            broker_connection_retry_on_startup=True,
            broker_heartbeat=HEARTBEAT_SECONDS,
            broker_transport_options=_transport_options(config),
            timezone="UTC",
            beat_schedule={},
        )
        if not _is_amqp(config):
            redis_transport.choose_for(self.app)

    def task(
        self, name: str, *, queue: str | None = None, every: float | None = None
    ) -> Callable[[Callable[..., Any]], Any]:
        """Declare a Celery task. every: seconds between runs by beat, for tasks that read the truth themselves."""

        def declare(function: Callable[..., Any]) -> Any:
            if every is not None:
                # An expired tick is worthless: the next one does the same.
                options = {**self._delivery(queue or UPKEEP_QUEUE), "expires": max(every, 1.0)}
                self.app.conf.beat_schedule[name] = {"task": name, "schedule": every, "options": options}
            return self.app.task(name=name, bind=True)(_measured(name, function))

        return declare

    def send(self, name: str, *arguments: Any) -> None:
        """Put a task on the broker by its name; returns once the broker has it."""
        queue = name if name in self._queues else DEFAULT_QUEUE
        trace = current_trace()
        self.app.send_task(
            name, args=arguments, headers={TRACE_HEADER: trace} if trace else None, **self._delivery(queue)
        )

    def _delivery(self, queue: str) -> dict[str, Any]:
        return {"queue": self._queues[queue].name, "confirm_timeout": CONFIRM_SECONDS}


def _measured(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The task's function, counted, and with its name and the request behind it in every line that it logs."""

    @wraps(function)
    def run(celery_task: Any, *arguments: Any) -> Any:
        trace = getattr(celery_task.request, TRACE_HEADER, None)
        with bound_contextvars(task=name, trace=trace), timed_task(name):
            return function(*arguments)

    return run


def _is_amqp(config: Settings) -> bool:
    return config.broker_url.get_secret_value().startswith("amqp")


def _queue(config: Settings, name: str) -> Queue:
    if not _is_amqp(config):
        return Queue(name, routing_key=name)
    exchange = Exchange(f"{config.key_prefix}.tasks", type="topic", durable=True)
    arguments = {"x-queue-type": "quorum"}
    return Queue(f"{config.key_prefix}.{name}", exchange, routing_key=name, durable=True, queue_arguments=arguments)


def _transport_options(config: Settings) -> dict[str, Any]:
    if _is_amqp(config):
        return {"confirm_publish": True}
    return {
        "global_keyprefix": config.key(""),
        "visibility_timeout": VISIBILITY_SECONDS,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
    }


_broker = Broker(settings())
app, task, send = _broker.app, _broker.task, _broker.send
