"""Every engine of every port: the embedded twin always, the real server where a URL names one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from real_engines import given, new_prefix, own_database, own_vhost
from signed_moto import KEY, REGION, SECRET

from infra.embedded.ephemeral import ephemeral_postgres

BUCKET = "gridbay-test"


@pytest.fixture(scope="session")
def embedded_database_url() -> Iterator[str]:
    with ephemeral_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def real_database_url() -> Iterator[str]:
    with own_database(given("GRIDBAY_TEST_DATABASE_URL")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> str:
    return given("GRIDBAY_TEST_REDIS_URL")


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    with own_vhost(given("GRIDBAY_TEST_AMQP_URL")) as url:
        yield url


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 with a bucket, whose credentials are in this process's environment."""
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, str(Path(__file__).with_name("signed_moto.py"))]
    with log.open("wb") as output, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output) as process:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AWS_ACCESS_KEY_ID", KEY)
            environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
            environment.setenv("AWS_DEFAULT_REGION", REGION)
            environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
            boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
            yield url
        process.kill()


@pytest.fixture(scope="session")
def s3_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """What GRIDBAY_STORAGE_URL would say: the environment's S3, or moto; a folder of our own, emptied at the end."""
    server = os.environ.get("GRIDBAY_TEST_S3_URL") or f"s3://{BUCKET}?endpoint={request.getfixturevalue('moto_url')}"
    place, _, options = server.partition("?")
    url = f"{place.rstrip('/')}/{new_prefix()}?{options}"
    yield url
    parts, chosen = urlsplit(url), parse_qs(options)
    client = boto3.client("s3", endpoint_url=chosen.get("endpoint", [None])[0])
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=parts.path.lstrip("/")):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=parts.netloc, Key=item["Key"])
