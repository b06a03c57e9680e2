"""FAULTS.md row 2 on RabbitMQ: the node that carries tasks and readings is killed, started again and purged."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pika
import pytest
from engines import started
from plane import ControlPlane
from private_nodes import PrivateRabbitMQ
from scene import Scene
from soak_size import size

pytestmark = pytest.mark.timeout(3600)
PREFIX = "faults"
QUEUES = tuple(f"{PREFIX}.{name}" for name in ("default", "upkeep", "scheduler.place", "usage.billing"))
PLACED_SECONDS = 30.0
ROUNDS, PURGES = size(2, 40), 5


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("rabbit")
    broker = PrivateRabbitMQ(folder)
    with (
        closing(broker),
        started(folder, broker, USAGE_BUS_URL=broker.url, KEY_PREFIX=PREFIX) as plane,
    ):
        broker.settle(*QUEUES)
        yield plane


def test_nothing_is_lost_even_if_rabbitmq_is_killed_and_every_message_purged(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    slowest = 0.0
    for _ in range(ROUNDS):
        load = market.run(market.journal.submit(12, at_once=4))
        plane.broker.kill()
        plane.until(load.done, 60, "an acknowledgement of every submit")
        load.result()
        plane.broker.start()
        began = time.monotonic()
        for _ in range(PURGES):
            _purge(plane.broker.url)
            market.tended(market.journal.submit(4))
        plane.until(lambda: market.unplaced() == 0, PLACED_SECONDS, "a place for every job")
        slowest = max(slowest, time.monotonic() - began)
    assert slowest <= PLACED_SECONDS
    market.settle()
    market.check(kills=ROUNDS, slowest_placed_seconds=round(slowest, 1))


def _purge(url: str) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            channel.queue_purge(queue)
