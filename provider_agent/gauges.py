"""What a node tells Prometheus when it asks: its attempts and spool, its minders, and its GPUs under DCGM's names.

Labels are stages and devices, never jobs.
"""

from collections import Counter as Tally
from collections.abc import Iterable
from pathlib import Path

import structlog
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from provider_agent.attempts.record import Stage
from provider_agent.attempts.registry import Registry
from provider_agent.gpus import dcgm
from provider_agent.health.telling import Health
from provider_agent.health.watch import GpuWatch
from provider_agent.minder import control, orders
from provider_agent.spool import Spool

log = structlog.get_logger(__name__)
GPU_LABELS = ("gpu", "UUID", "modelName")


class NodeGauges(Collector):
    """The state of one agent at the moment of a scrape."""

    def __init__(self, registry: Registry, spool: Spool, watch: GpuWatch, health: Health) -> None:
        self._registry, self._spool, self._watch, self._health = registry, spool, watch, health

    def collect(self) -> Iterable[Metric]:
        attempts = self._registry.stages()
        stages = Tally(stage for _, stage in attempts)
        by_stage = GaugeMetricFamily("gridbay_agent_attempts", "Attempts on this node by stage.", labels=["stage"])
        for stage in Stage:
            by_stage.add_metric([stage.value], stages[stage])
        yield by_stage
        yield GaugeMetricFamily("gridbay_agent_spool_streams", "Streams not settled by billing.", len(self._spool))
        yield from _minders([folder for folder, stage in attempts if stage is Stage.LAUNCHING])
        yield from self._conditions()
        yield from self._devices()

    def _conditions(self) -> Iterable[Metric]:
        """By code, of all devices together: which one it is, the provider's view of the node says."""
        standing = GaugeMetricFamily(
            "gridbay_agent_conditions", "What stands against this node.", labels=["code", "quarantines"]
        )
        tally = Tally((one.code, one.advice.quarantines) for one in self._health.conditions)
        for (code, quarantines), count in sorted(tally.items()):
            standing.add_metric([code.value, str(quarantines).lower()], count)
        yield standing

    def _devices(self) -> Iterable[Metric]:
        """The newest look, under DCGM's names; a field that the driver does not tell is left out, not guessed."""
        seen = self._watch.seen
        facts = {fact.uuid: fact for fact in seen.facts}
        families: dict[str, Metric] = {}
        for reading in seen.look.devices:
            if reading.uuid not in facts:
                continue
            fact = facts[reading.uuid]
            labels = dict(zip(GPU_LABELS, (str(fact.index), fact.uuid, fact.model), strict=True))
            for name, value in (*dcgm.told_by(reading), *reading.profile.items()):
                families.setdefault(name, _family(name)).add_sample(name, labels, value)
        return [families[name] for name in sorted(families)]


def _family(name: str) -> Metric:
    """DCGM's counters keep their names; the client would give a counter another one, so they are of no type."""
    known = dcgm.FIELDS.get(name)
    about = known.about if known is not None else "As DCGM's exporter tells it."
    return Metric(name, about, "unknown" if known is None or known.counter else "gauge")


def serve(bind: str | None, gauges: NodeGauges) -> None:
    """Answer scrapes at host:port, without a credential: on loopback, or where only Prometheus reaches it."""
    if bind:
        host, _, port = bind.rpartition(":")
        REGISTRY.register(gauges)
        start_http_server(int(port), host.strip("[]") or "127.0.0.1")
        log.info("metrics are served", bind=bind)


def _minders(folders: Iterable[Path]) -> Iterable[Metric]:
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
