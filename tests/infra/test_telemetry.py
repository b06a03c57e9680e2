"""What is counted is what was committed, under labels that take few values, in a text that Prometheus reads."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from infra import telemetry
from infra.database import Database
from infra.embedded.ports import free_port


def value(name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(telemetry.exposition().decode()):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


def test_what_is_rolled_back_is_not_counted(database: Database) -> None:
    before = value("gridbay_windows_captured_total")
    with database.transaction() as session:
        telemetry.count(session, telemetry.WINDOWS_CAPTURED, 3)
        assert value("gridbay_windows_captured_total") == before
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        session.execute(text("SELECT 1"))
        telemetry.count(session, telemetry.WINDOWS_CAPTURED, 100)
        raise ZeroDivisionError
    assert value("gridbay_windows_captured_total") == before + 3


def test_a_task_is_counted_by_its_outcome() -> None:
    labels = {"task": "t"}
    for _ in range(2):
        with telemetry.timed_task("t"):
            pass
    with pytest.raises(ZeroDivisionError), telemetry.timed_task("t"):
        raise ZeroDivisionError
    assert value("gridbay_task_duration_seconds_count", outcome="succeeded", **labels) == 2
    assert value("gridbay_task_duration_seconds_count", outcome="failed", **labels) == 1


def test_every_metric_is_named_in_base_units_and_without_ids() -> None:
    families = list(text_string_to_metric_families(telemetry.exposition().decode()))
    ours = [family for family in families if family.name.startswith("gridbay_")]
    assert len(ours) >= 15
    for family in ours:
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_ms", "_milliseconds", "_minutes")), family.name
        labels = {label for sample in family.samples for label in sample.labels}
        assert not labels & {"job_id", "attempt_id", "node_id", "organization_id", "path", "trace"}, family.name


CHILDREN = """
import os, sys
from infra import telemetry
telemetry.JOBS_PLACED.inc(1)
for _ in range(3):
    if os.fork() == 0:
        telemetry.JOBS_PLACED.inc(5)
        with telemetry.timed_task("t"):
            pass
        os._exit(0)
for _ in range(3):
    os.wait()
telemetry.serve(sys.argv[1])
print("there", flush=True)
sys.stdin.read()
"""


def test_a_prefork_workers_children_count_into_their_parents_answer(tmp_path: Path) -> None:
    bind = f"127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [sys.executable, "-c", CHILDREN, bind],
        env=os.environ | {telemetry.FOLDER_VARIABLE: str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert "there" in process.stdout.readline().decode() + process.stdout.readline().decode()
        scraped = httpx.get(f"http://{bind}/metrics").text
        process.stdin.close()
    samples = {s.name: s.value for family in text_string_to_metric_families(scraped) for s in family.samples}
    assert samples["gridbay_round_jobs_placed_total"] == 1 + 3 * 5
    assert samples["gridbay_task_duration_seconds_count"] == 3
