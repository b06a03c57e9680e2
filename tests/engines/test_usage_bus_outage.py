"""A usage bus that dies and comes back: nothing that it took is lost, and nobody has to be restarted."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from awaiting import until
from private_nodes import PrivateNode, PrivateRabbitMQ, PrivateValkey
from sqlalchemy import text
from usage_buses import Market, reports

from infra.bus.usage import BusUnavailable
from infra.database import Database

pytestmark = pytest.mark.timeout(200)
CONSUMER = (sys.executable, "-P", "-m", "gridbay.cli.main", "process", "consumer")


@pytest.fixture(params=[PrivateValkey, PrivateRabbitMQ], ids=["valkey", "rabbitmq"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PrivateNode]:
    made: PrivateNode = request.param(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_what_it_took_before_it_was_killed_is_merged_after_it_is_back(node: PrivateNode, database: Database) -> None:
    bus = Market(node.url, "gridbay").bus()
    bus.publish(reports(10))
    environment = {
        **os.environ,
        "GRIDBAY_KEY_PREFIX": "gridbay",
        "GRIDBAY_USAGE_BUS_URL": node.url,
        "GRIDBAY_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
    }
    node.settle()
    node.kill()
    with pytest.raises(BusUnavailable):
        bus.publish(reports(1, first=10))
    with subprocess.Popen(CONSUMER, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as consumer:
        try:
            assert consumer.stdout is not None
            while b"consumer_interrupted" not in consumer.stdout.readline():
                assert consumer.poll() is None, "it waits for the bus"
            node.start()
            # None of these is a report: each message that reaches billing is one refusal more.
            until(lambda: refused(database, "node_") >= 10, "what was taken before is merged", 90)
            # What was merged may come again: its acknowledgement may have died with the node.
            node.kill()
            node.start()
            bus.publish([replace(report, node_id="late") for report in reports(5)])
            until(lambda: refused(database, "late") >= 5, "and what came after another fall", 90)
            until(lambda: (bus.waiting(), bus.parked()) == (0, 0), "nothing is left")
            assert consumer.poll() is None
        finally:
            consumer.terminate()
            consumer.communicate(timeout=30)
    assert consumer.returncode == 0
    bus.close()


def refused(database: Database, node: str) -> int:
    """How often billing has refused something of the nodes whose names begin so."""
    count = text("SELECT sum(count) FROM reading_refusals WHERE starts_with(node_id, :node)")
    with database.read() as session:
        return int(session.scalar(count, {"node": node}) or 0)
