"""Real servers that somebody else runs: named by a URL, used under names of our own, and left as they were.

    GRIDBAY_TEST_DATABASE_URL  postgresql+psycopg://user@host:5432/postgres   a role that may create databases
    GRIDBAY_TEST_AMQP_URL      amqp://user:password@host:5672/                a vhost of our own, if root asks
    GRIDBAY_TEST_REDIS_URL     redis://host:6379/0                            a key prefix of our own
    GRIDBAY_TEST_S3_URL        s3://bucket/prefix?endpoint=...                by default a moto that the tests start

A test that needs one whose URL is not set is skipped; with GRIDBAY_REQUIRE_ENGINES it fails instead.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import pika
import pytest
import redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

RABBITMQCTL_SECONDS = 30


def given(variable: str) -> str:
    """The URL of a real server. Skips the test, or fails it if engines are required, when there is none."""
    url = os.environ.get(variable)
    if url:
        return url
    if os.environ.get("GRIDBAY_REQUIRE_ENGINES"):
        pytest.fail(f"GRIDBAY_REQUIRE_ENGINES asks for real servers, and {variable} is not set")
    pytest.skip(f"{variable} is not set: no real server to test on")


def new_prefix() -> str:
    """A key prefix that nobody else has."""
    return f"gridbay-test-{uuid.uuid4().hex[:12]}"


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """The URL of a new database on that server, dropped afterwards."""
    name = f"gridbay_test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@contextmanager
def own_vhost(server: str) -> Iterator[str]:
    """The URL of a vhost of our own; where rabbitmqctl may not make one (it wants root), the URL's own vhost."""
    name, user = new_prefix(), urlsplit(server).username or "guest"
    if not _rabbitmqctl("add_vhost", name):
        yield server
        return
    try:
        assert _rabbitmqctl("set_permissions", "-p", name, user, ".*", ".*", ".*")
        own = urlsplit(server)._replace(path=f"/{quote(name, safe='')}").geturl()
        # The node that rabbitmqctl speaks to need not be the URL's.
        yield own if _opens(own) else server
    finally:
        assert _rabbitmqctl("delete_vhost", name)


def _opens(url: str) -> bool:
    try:
        pika.BlockingConnection(pika.URLParameters(url)).close()
    except pika.exceptions.AMQPError:
        return False
    return True


def forget_queues(url: str, *, queues: list[str], exchanges: list[str]) -> None:
    """Remove what a test has declared, for the case that the vhost is not our own."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in queues:
        channel.queue_delete(queue)
    for exchange in exchanges:
        channel.exchange_delete(exchange)
    connection.close()


def forget_keys(url: str, prefix: str) -> None:
    """Remove every key of a prefix."""
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{prefix}*"):
            client.delete(key)


def _rabbitmqctl(*words: str) -> bool:
    if shutil.which("rabbitmqctl") is None or os.geteuid() != 0:
        return False
    done = subprocess.run(["rabbitmqctl", "-q", *words], capture_output=True, timeout=RABBITMQCTL_SECONDS, check=False)
    return done.returncode == 0
