"""The whole line, from submit to receipt: `gridbay up` with PostgreSQL, RabbitMQ, Redis and S3 by URL."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import psutil
import pytest
from awaiting import until
from real_engines import forget_keys, new_prefix

from gridbay.cli.embedded import EmbeddedMarket, running_market
from gridbay.client import Gridbay
from gridbay.standalone.background import RunningMarket, start_in_background
from infra.bus.usage.rabbitmq import RabbitUsageBus

pytestmark = [pytest.mark.market, pytest.mark.timeout(240)]
GRIDBAY = (sys.executable, "-P", "-m", "gridbay.cli.main")
JOB = """apiVersion: gridbay/v1
kind: job
name: real-servers
resources: {cpu: 1}
workdir: .
max_duration: 5m
run: |
  cat input.txt
  for step in $(seq 30); do echo step $step; sleep 0.1; done
  mkdir -p out && tr a-z A-Z < input.txt > out/answer.txt
outputs: [out/]
"""


@pytest.fixture(scope="module")
def prefix() -> str:
    return new_prefix()


@pytest.fixture(scope="module")
def urls(
    real_database_url: str, rabbitmq_url: str, redis_url: str, s3_url: str, prefix: str
) -> Iterator[dict[str, str]]:
    yield {
        "GRIDBAY_DATABASE_URL": real_database_url,
        "GRIDBAY_BROKER_URL": rabbitmq_url,
        "GRIDBAY_USAGE_BUS_URL": rabbitmq_url,
        "GRIDBAY_CACHE_URL": redis_url,
        "GRIDBAY_STORAGE_URL": s3_url,
        "GRIDBAY_KEY_PREFIX": prefix,
    }
    forget_keys(redis_url, prefix)


@pytest.fixture(scope="module")
def market(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMarket]:
    with pytest.MonkeyPatch.context() as environment:
        home = tmp_path_factory.mktemp("home")
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
            environment.setenv(name, str(home))
        for name, value in {**urls, "NO_COLOR": "1", "COLUMNS": "160"}.items():
            environment.setenv(name, value)
        with start_in_background() as running:
            running.wait_ready(120)
            yield running


@pytest.fixture(scope="module")
def here(market: RunningMarket) -> EmbeddedMarket:
    found = running_market(market.state_dir)
    assert found is not None
    return found


def typed(*words: str) -> str:
    done = subprocess.run([*GRIDBAY, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_no_server_of_its_own_was_started(market: RunningMarket) -> None:
    commands = [" ".join(process.cmdline()) for process in psutil.Process(market.pid).children(recursive=True)]
    assert any("process worker" in command for command in commands)
    assert not any(name in command for command in commands for name in ("postgres", "valkey", "process storage"))


def test_the_doctor_calls_them_real(market: RunningMarket) -> None:
    found = {finding["engine"]: finding["level"] for finding in json.loads(typed("doctor", "-o", "json"))}
    assert {found[name] for name in ("database", "broker", "usage bus", "cache", "storage")} == {"real"}
    assert found["chain"] == "embedded"


def test_a_job_runs_and_is_billed_though_everything_behind_the_api_is_killed_meanwhile(
    market: RunningMarket, here: EmbeddedMarket, urls: dict[str, str], prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "job.yaml").write_text(JOB)
    (tmp_path / "job" / "input.txt").write_text("hello from the folder\n")
    typed("deposit", "5")
    with Gridbay(here.account.url, here.account.customer or "") as sdk:
        until(lambda: sdk.offers() != [], "this machine is offered", 60)
        command = [*GRIDBAY, "run", "-y", str(tmp_path / "job" / "job.yaml")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            until(lambda: any(job.state == "running" for job in sdk.jobs()), "it runs", 60)
            for process in psutil.Process(market.pid).children(recursive=True):
                # What ended by itself meanwhile is no business of ours.
                with suppress(psutil.NoSuchProcess):
                    if any(
                        f"process {name}" in " ".join(process.cmdline()) for name in ("worker", "relay", "consumer")
                    ):
                        process.send_signal(signal.SIGKILL)
            output, _ = run.communicate(timeout=120)
        assert run.returncode == 0, output
        assert "hello from the folder" in output
        assert "step 30" in output
        job_id = next(iter(sdk.jobs())).job_id
        until(lambda: sdk.job(job_id).billed, "its bill is complete", 90)
        job = sdk.job(job_id)
        assert (job.state, job.exit_code, len(job.attempts)) == ("succeeded", 0, 1)
        (fetched,) = sdk.download_outputs(job.job_id, tmp_path / "outputs")
        assert fetched.read_text() == "HELLO FROM THE FOLDER\n"
        assert [line.window_number for line in sdk.cost(job.job_id).lines] == [0]
    typed("admin", "settle")
    receipt = tmp_path / "receipt.json"
    typed("receipt", "get", job.job_id, "-o", str(receipt))
    assert "verified" in typed("receipt", "verify", str(receipt), "--rpc", here.rpc_url)
    assert {key.partition("/")[0] for key in stored(urls["GRIDBAY_STORAGE_URL"])} >= {"logs", "outputs", "workdirs"}
    bus = RabbitUsageBus(urls["GRIDBAY_USAGE_BUS_URL"], prefix)
    until(lambda: (bus.waiting(), bus.parked()) == (0, 0), "every reading was merged")
    bus.close()


def stored(storage_url: str) -> list[str]:
    """The keys in the market's part of the bucket."""
    parts = urlsplit(storage_url)
    client = boto3.client("s3", endpoint_url=parts.query.partition("endpoint=")[2] or None)
    prefix = f"{parts.path.strip('/')}/"
    found = client.list_objects_v2(Bucket=parts.netloc, Prefix=prefix).get("Contents", ())
    return [item["Key"].removeprefix(prefix) for item in found]
