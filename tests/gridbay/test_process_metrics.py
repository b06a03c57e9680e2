"""The servers that an embedded market brings along tell Prometheus of their requests, as others do of their work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from awaiting import until
from prometheus_client.parser import text_string_to_metric_families

from infra.embedded.ports import free_port
from infra.embedded.secret_file import ensure_secret

COUNT = "gridbay_http_request_duration_seconds_count"


@contextmanager
def serving(name: str, **settings: str) -> Iterator[str]:
    """One process of the market; yields the address of its metrics."""
    bind = f"127.0.0.1:{free_port()}"
    named = {f"GRIDBAY_{key.upper()}": value for key, value in settings.items()}
    env = {"PATH": os.environ["PATH"], "GRIDBAY_METRICS_BIND": bind, **named}
    process = subprocess.Popen([sys.executable, "-m", "gridbay.cli.main", "process", name], env=env)
    try:
        yield f"http://{bind}/metrics"
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def counted(metrics: str) -> dict[tuple[str, str, str], float]:
    """Requests by method, route and status."""
    text = httpx.get(metrics).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status"]): sample.value
        for sample in samples
        if sample.name == COUNT
    }


def test_the_storage_counts_its_requests(tmp_path: Path) -> None:
    url, key = f"http://127.0.0.1:{free_port()}", tmp_path / "key"
    ensure_secret(key)
    folder = (tmp_path / "objects").as_uri()
    with serving("storage", storage_url=folder, storage_public_url=url, secret_key_file=str(key)) as metrics:
        until(lambda: answers(f"{url}/health"), "the storage")
        assert httpx.get(f"{url}/somebody/elses").status_code == 403
        assert counted(metrics)["GET", "object", "403"] == 1


def test_the_chain_counts_its_requests(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with serving("chain", state_dir=str(tmp_path), solana_rpc_urls=url) as metrics:
        until(lambda: answers(url), "the chain")
        asked = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}
        assert httpx.post(url, json=asked).json()["result"] == "ok"
        assert httpx.post(url, content=b"{}").status_code == 415
        assert counted(metrics) == {("POST", "rpc", "200"): 1, ("POST", "rpc", "415"): 1}
