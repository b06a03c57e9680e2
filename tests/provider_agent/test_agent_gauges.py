"""A node tells Prometheus of its attempts, its spool and its GPUs, under names that dashboards know."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tools import tool

from market.health import Condition, HealthCode
from market.resources import GpuFacts
from provider_agent.attempts.record import Stage
from provider_agent.gauges import NodeGauges, serve
from provider_agent.gpus.port import NoGpus
from provider_agent.gpus.readings import GpuReading, Look, Pulse
from provider_agent.health.watch import GpuWatch
from provider_agent.minder import layout


class _Registry:
    def __init__(self, stages: list[tuple[Path, Stage]]) -> None:
        self._stages = stages

    def stages(self) -> list[tuple[Path, Stage]]:
        return self._stages


class _Gpus(NoGpus):
    """Two devices; the second has fallen silent about all but its temperature."""

    def __init__(self) -> None:
        super().__init__("")

    def facts(self) -> list[GpuFacts]:
        return [GpuFacts(uuid=f"GPU-{n}", index=n, model="H100", memory_bytes=80 * 2**30) for n in range(2)]

    def look(self) -> Look:
        full = Pulse(busy_percent=97, memory_used_bytes=2**30, temperature_c=61, energy_millijoules=7000)
        profile = {"DCGM_FI_PROF_DRAM_ACTIVE": 0.25}
        silent = GpuReading("GPU-1", 1, Pulse(temperature_c=40))
        return Look((GpuReading("GPU-0", 0, full, profile=profile), silent))


class _Health:
    conditions = [
        Condition(code=HealthCode.TOO_HOT, gpu_uuid="GPU-0"),
        Condition(code=HealthCode.TOO_HOT, gpu_uuid="GPU-1"),
        Condition(code=HealthCode.PCIE_NARROW, gpu_uuid="GPU-0"),
    ]


@pytest.fixture
def gauges(tmp_path: Path) -> NodeGauges:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / layout.USAGE).write_text('{"run_ms": 5000, "cpu_ms": 2500, "memory_peak_bytes": 100}')
    (folders[1] / layout.USAGE).write_text("no JSON")
    stages = [(folders[0], Stage.LAUNCHING), (folders[1], Stage.LAUNCHING), (folders[2], Stage.ENDED)]
    watch = GpuWatch(_Gpus(), _Gpus().facts())
    watch.look(1.0)
    return NodeGauges(cast(Any, _Registry(stages)), cast(Any, [1, 2, 3]), watch, cast(Any, _Health()))


@pytest.fixture
def text(gauges: NodeGauges) -> Iterator[str]:
    registry = CollectorRegistry()
    registry.register(gauges)
    yield generate_latest(registry).decode()


def test_attempts_spool_minders_and_devices_are_told(text: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def values(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {tuple(s.labels[label] for label in labels): s.value for s in families[name].samples}

    assert values("gridbay_agent_attempts", "stage") == {
        ("accepted",): 0,
        ("launching",): 2,
        ("ended",): 1,
        ("reported",): 0,
    }
    assert values("gridbay_agent_spool_streams")[()] == 3
    assert values("gridbay_minders_running")[()] == 1, "a file that cannot be read counts for nothing"
    assert (values("gridbay_minders_cpu_seconds")[()], values("gridbay_minders_memory_peak_bytes")[()]) == (2.5, 100)
    assert values("DCGM_FI_DEV_GPU_UTIL", "gpu", "UUID", "modelName") == {("0", "GPU-0", "H100"): 97}
    assert values("DCGM_FI_DEV_GPU_TEMP", "gpu") == {("0",): 61, ("1",): 40}
    assert values("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "UUID") == {("GPU-0",): 7000}
    assert values("DCGM_FI_PROF_DRAM_ACTIVE", "UUID") == {("GPU-0",): 0.25}
    assert "DCGM_FI_DEV_POWER_USAGE" not in families, "what nobody tells is left out"
    assert values("gridbay_agent_conditions", "code", "quarantines") == {
        ("pcie_narrow", "false"): 1,
        ("too_hot", "true"): 2,
    }


def test_promtool_accepts_it(text: str) -> None:
    """Prometheus' own checker; 3 is its exit status for names that are not of its style, and DCGM's are not."""
    promtool = tool("promtool")
    told = subprocess.run(
        [promtool, "check", "metrics"], check=False, input=text, capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in (told.stdout + told.stderr).splitlines() if not line.startswith("DCGM_FI_")]
    assert complaints == []
    assert told.returncode in (0, 3), told.stderr


def test_it_is_served_only_where_it_was_asked_for(gauges: NodeGauges) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve(None, gauges)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
    try:
        serve(f"127.0.0.1:{port}", gauges)
        told = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        REGISTRY.unregister(gauges)
    assert "gridbay_agent_polls_total" in told or "gridbay_agent_polls" in told
    assert "gridbay_agent_spool_streams 3.0" in told
