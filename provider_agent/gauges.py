"""What a node tells Prometheus when it asks: its attempts and spool, its minders, and its GPUs under DCGM's names.

Labels are stages and devices, never jobs.
"""

from collections import Counter as Tally
from collections.abc import Iterable
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from provider_agent.attempts.record import Stage
from provider_agent.attempts.registry import Registry
from provider_agent.gpus.port import Gpus
from provider_agent.minder import control, orders
from provider_agent.spool import Spool

log = structlog.get_logger(__name__)
GPU_LABELS = ("gpu", "UUID", "modelName")
DCGM = {
    "DCGM_FI_DEV_GPU_UTIL": "GPU utilization (in %).",
    "DCGM_FI_DEV_FB_USED": "Framebuffer memory used (in MiB).",
    "DCGM_FI_DEV_FB_FREE": "Framebuffer memory free (in MiB).",
    "DCGM_FI_DEV_GPU_TEMP": "GPU temperature (in C).",
    "DCGM_FI_DEV_POWER_USAGE": "Power draw (in W).",
}


class NodeGauges(Collector):
    """The state of one agent at the moment of a scrape."""

    def __init__(self, registry: Registry, spool: Spool, gpus: Gpus) -> None:
        self._registry, self._spool, self._gpus = registry, spool, gpus

    def collect(self) -> Iterable[GaugeMetricFamily]:
        attempts = self._registry.stages()
        stages = Tally(stage for _, stage in attempts)
        by_stage = GaugeMetricFamily("gridbay_agent_attempts", "Attempts on this node by stage.", labels=["stage"])
        for stage in Stage:
            by_stage.add_metric([stage.value], stages[stage])
        yield by_stage
        yield GaugeMetricFamily("gridbay_agent_spool_streams", "Streams not settled by billing.", len(self._spool))
        yield from _minders([folder for folder, stage in attempts if stage is Stage.LAUNCHING])
        yield from self._devices()

    def _devices(self) -> Iterable[GaugeMetricFamily]:
        """A field that the driver does not tell is left out, not guessed."""
        facts = {fact.uuid: fact for fact in self._gpus.facts()}
        gauges = self._gpus.gauges()
        for name, about in DCGM.items():
            family = GaugeMetricFamily(name, about, labels=GPU_LABELS)
            for uuid, values in gauges.items():
                if name in values and uuid in facts:
                    family.add_metric([str(facts[uuid].index), uuid, facts[uuid].model], values[name])
            if family.samples:
                yield family


def serve(bind: str | None, gauges: NodeGauges) -> None:
    """Answer scrapes at host:port, without a credential: on loopback, or where only Prometheus reaches it."""
    if bind:
        host, _, port = bind.rpartition(":")
        REGISTRY.register(gauges)
        start_http_server(int(port), host.strip("[]") or "127.0.0.1")
        log.info("metrics are served", bind=bind)


def _minders(folders: Iterable[Path]) -> Iterable[GaugeMetricFamily]:
    """What the minders of running attempts count, together."""
    used = [usage for folder in folders if (usage := _usage(folder)) is not None]
    yield GaugeMetricFamily("gridbay_minders_running", "Minders that have written counters.", len(used))
    cpu_seconds = sum(usage.cpu_ms for usage in used) / 1000
    yield GaugeMetricFamily("gridbay_minders_cpu_seconds", "CPU time of the attempts that run.", cpu_seconds)
    run_seconds = sum(usage.run_ms for usage in used) / 1000
    yield GaugeMetricFamily("gridbay_minders_run_seconds", "Running time of the attempts that run.", run_seconds)
    peak = sum(usage.memory_peak_bytes for usage in used)
    yield GaugeMetricFamily("gridbay_minders_memory_peak_bytes", "Their peaks of memory, summed up.", peak)


def _usage(folder: Path) -> orders.Usage | None:
    try:
        return control.usage(folder)
    except orders.UnreadableFile:
        return None
