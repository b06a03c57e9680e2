"""Whose turn it is when requests compete: the market's queue beside others, on a real trace in virtual time.

82,247 jobs of Microsoft's Philly (the judge's data): when they came, how many GPUs, of which virtual cluster, which
stands for an organization. Nodes of 8 GPUs, as many as make the trace's work 90 % of what they could do while it lasts:
for two months more is asked for than there is. A job of more than 8 GPUs is a gang, whole or not at all. Every policy
places by the same engine, never interrupts a job, and decides whenever one comes or ends; they differ in whose turn it
is. Only the clairvoyant one knows how long a job will run.

slowdown: time from submission to end by the time it ran, for jobs under a minute by a minute. Jain's index is over the
organizations' parts of their jobs' time that these ran (mean over its jobs of run time by time in the market).
"""

import argparse
import csv
import json
import math
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from pathlib import Path

from benchmarks.judge import DATA
from benchmarks.queueing_plot import draw_waits
from market.resources import GpuRequest, Unit
from scheduler.placement.decisions import Decision
from scheduler.placement.engine import Engine
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.queue.lines import Lines
from scheduler.placement.queue.turns import Turns
from scheduler.placement.queue.waiting import Amounts, Waiting, asked_by
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot

NODE_GPUS = 8
LOAD = 0.9
MINUTE = 60
LARGE = 8
JITTER = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class TraceJob:
    """Seconds since the first one came."""

    request: Request
    organization_id: str
    came: int
    runs: int

    @property
    def gpus(self) -> int:
        return asked_by(self.request).gpu_milli // 1000


def read(path: Path, limit: int | None, seed: int | None = None) -> list[TraceJob]:
    """The trace, oldest first, its first jobs where there is a limit. seed: each came up to JITTER sooner or later."""
    draw = random.Random(seed)
    with path.open() as file:
        rows = [(datetime.fromisoformat(row["timestamp"]), row) for row in csv.DictReader(file)]
    if seed is not None:
        rows = [(came + JITTER * draw.uniform(-1, 1), row) for came, row in rows]
    rows.sort(key=lambda entry: entry[0])
    first = rows[0][0]
    return [
        TraceJob(
            _request(f"job{number:06}", int(row["num_gpus"])),
            row["cluster"],
            round((came - first).total_seconds()),
            max(round(float(row["duration"])), 1),
        )
        for number, (came, row) in enumerate(rows[:limit])
    ]


def _request(job_id: str, gpus: int) -> Request:
    members = math.ceil(gpus / NODE_GPUS)
    gpu = GpuRequest(count=gpus // members)
    return Request(job_id, Unit.GPU, gpu, 0, 0, 0, None, simulated=False, members=members)


class Cluster:
    """Nodes of 8 GPUs of one provider, and what is free of them."""

    def __init__(self, count: int) -> None:
        gpus = tuple(range(NODE_GPUS))
        self._nodes = [NodeFacts(f"node{at:04}", "prv", "", True, True, False, 1, 1, 1, 1, 1, 1) for at in range(count)]
        self._offers = [
            OfferFacts(f"offer{at:04}", f"node{at:04}", Unit.GPU, "GPU", 1, NODE_GPUS, gpus, 0) for at in range(count)
        ]
        self.free = count * NODE_GPUS
        self.running: dict[str, dict[str, tuple[int, int]]] = {node.node_id: {} for node in self._nodes}

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self._nodes, self._offers)

    def begin(self, decision: Decision, now: int) -> None:
        """It runs from now on."""
        self.move(decision, take=True)
        self.running[decision.node.node_id][decision.request.job_id] = now, len(decision.gpus)

    def end(self, decision: Decision) -> None:
        self.move(decision, take=False)
        del self.running[decision.node.node_id][decision.request.job_id]

    def move(self, decision: Decision, *, take: bool) -> None:
        """A decision's GPUs are taken, or free again."""
        at = int(decision.offer.offer_id[5:])
        offer = self._offers[at]
        left = set(offer.free_gpus) - set(decision.gpus) if take else set(offer.free_gpus) | set(decision.gpus)
        self._offers[at] = replace(offer, free_gpus=tuple(sorted(left)))
        self.free += -len(decision.gpus) if take else len(decision.gpus)


Place = Callable[["Replay", int], list[Decision]]


class Replay:
    """One policy on the whole trace. started: by job, when."""

    def __init__(self, jobs: list[TraceJob], nodes: int, waits_as: Callable[[TraceJob], Waiting], place: Place) -> None:
        self.jobs = {job.request.job_id: job for job in jobs}
        self.cluster, self.engine, self.lines = Cluster(nodes), Engine(), Lines()
        self.used: dict[str, Amounts] = defaultdict(Amounts)
        self.capacity = Amounts(nodes * NODE_GPUS * 1000)
        self.started: dict[str, int] = {}
        self._run(jobs, waits_as, place)

    def _run(self, jobs: list[TraceJob], waits_as: Callable[[TraceJob], Waiting], place: Place) -> None:
        ends: list[tuple[int, str, list[Decision]]] = []
        coming = iter(jobs)
        upcoming = next(coming, None)
        while upcoming is not None or ends:
            now = min(([upcoming.came] if upcoming else []) + ([ends[0][0]] if ends else []))
            while ends and ends[0][0] <= now:
                self._end(*heappop(ends)[1:])
            while upcoming is not None and upcoming.came <= now:
                self.lines.put(waits_as(upcoming))
                upcoming = next(coming, None)
            by_job: dict[str, list[Decision]] = defaultdict(list)
            for decision in place(self, now) if self.cluster.free else ():
                by_job[decision.request.job_id].append(decision)
                self.cluster.begin(decision, now)
            for job_id, decisions in by_job.items():
                job = self.jobs[job_id]
                self.started[job_id] = now
                self.used[job.organization_id] += asked_by(job.request)
                heappush(ends, (now + job.runs, job_id, decisions))

    def _end(self, job_id: str, decisions: list[Decision]) -> None:
        for decision in decisions:
            self.cluster.end(decision)
        job = self.jobs[job_id]
        had, gone = self.used[job.organization_id], asked_by(job.request)
        self.used[job.organization_id] = Amounts(had.gpu_milli - gone.gpu_milli)


def fair(replay: Replay, now: int) -> list[Decision]:
    """The market's queue."""
    running = {node_id: tuple(work.values()) for node_id, work in replay.cluster.running.items()}
    turns = Turns(replay.lines, {}, replay.used, replay.capacity, now, running=running, everyone=False)
    return replay.engine.choose(replay.cluster.snapshot, turns, "").decisions


def greedy(replay: Replay, _: int) -> list[Decision]:
    """In one line; whoever fits goes ahead of whoever does not, and nothing is held for anybody."""
    turns = Turns(replay.lines, {}, {}, replay.capacity, 0, everyone=False)
    return replay.engine.choose(replay.cluster.snapshot, turns, "").decisions


def strict(replay: Replay, _: int) -> list[Decision]:
    """Nobody goes ahead of the first in the line."""
    decisions: list[Decision] = []
    snapshot = replay.cluster.snapshot
    while replay.lines.of:
        whose, kind, line = min(replay.lines, key=lambda entry: entry[2].first.age)
        placed = replay.engine.choose(snapshot, [line.first.request], "").decisions
        if not placed:
            break
        replay.lines.drop_first(whose, kind)
        decisions += placed
        for decision in placed:
            replay.cluster.move(decision, take=True)
        snapshot = replay.cluster.snapshot
    for decision in decisions:
        replay.cluster.move(decision, take=False)
    return decisions


def main() -> int:
    """Print a row a policy and one JSON line. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with philly_jobs.csv (the judge's without it)")
    parser.add_argument("--quick", action="store_true", help="the first 12,000 jobs")
    parser.add_argument("--load", type=float, default=LOAD, help="the part of what the nodes can do that is asked for")
    parser.add_argument("--seed", type=int, help="each job comes up to two minutes sooner or later")
    parser.add_argument("--svg", type=Path, help="write the plot there")
    options = parser.parse_args()
    jobs = read(options.data / "philly_jobs.csv", 12_000 if options.quick else None, options.seed)
    lasts = max(job.came for job in jobs)
    nodes = round(sum(job.gpus * job.runs for job in jobs) / lasts / options.load / NODE_GPUS)
    print(
        f"{len(jobs):,} jobs on {nodes} nodes of {NODE_GPUS} GPUs, "
        f"{options.load:.0%} of what they can do in {lasts / 86400:.0f} days"
    )
    print(f"{'policy':<28}{'slowdown':>10}{'p95 wait h':>12}{'≥ 8 GPUs':>10}{'longest d':>11}{'Jain':>8}{'CPU s':>7}")
    found: dict[str, Figures] = {}
    waits: dict[str, list[int]] = {}
    for name, (waits_as, place) in POLICIES.items():
        began = time.process_time()
        replay = Replay(jobs, nodes, waits_as, place)
        figures = found[name] = measure(replay)
        waits[name] = sorted(replay.started[job.request.job_id] - job.came for job in jobs)
        print(
            f"{name:<28}{figures.slowdown:>10.1f}{figures.p95_wait / 3600:>12.1f}{figures.p95_wait_large / 3600:>10.1f}"
            f"{figures.longest_wait / 86400:>11.1f}{figures.jain:>8.3f}{time.process_time() - began:>7.0f}",
            flush=True,
        )
    if options.svg:
        options.svg.write_text(draw_waits(waits))
    ours, theirs = found[OURS], found[BACKFILL]
    kept = ours.slowdown < theirs.slowdown and ours.p95_wait_large <= theirs.p95_wait_large and ours.jain > theirs.jain
    answer = {"name": "queueing", "ratio": round(theirs.slowdown / ours.slowdown, 3), "target": 1.0}
    print(json.dumps({**answer, "policies": {name: one.plain() for name, one in found.items()}, "kept": kept}))
    return 0 if kept else 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Waits in seconds."""

    slowdown: float
    p95_wait: int
    p95_wait_large: int
    longest_wait: int
    jain: float

    def plain(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 3) for name in self.__slots__}


def measure(replay: Replay) -> Figures:
    """Of a policy's starts. That every job has one is what "none waits for ever" means."""
    jobs = replay.jobs.values()
    waits = {job.request.job_id: replay.started[job.request.job_id] - job.came for job in jobs}
    parts: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        parts[job.organization_id].append(job.runs / (waits[job.request.job_id] + job.runs))
    return Figures(
        statistics.fmean((waits[job.request.job_id] + max(job.runs, MINUTE)) / max(job.runs, MINUTE) for job in jobs),
        _p95(waits.values()),
        _p95(waits[job.request.job_id] for job in jobs if job.gpus >= LARGE),
        max(waits.values()),
        _jain([statistics.fmean(part) for part in parts.values()]),
    )


def _p95(waits: Iterable[int]) -> int:
    ranked = sorted(waits)
    return ranked[math.ceil(0.95 * len(ranked)) - 1]


def _jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def _in_one_line(job: TraceJob) -> Waiting:
    return Waiting(job.request, "everybody", job.came)


OURS, BACKFILL = "gridbay", "FIFO with greedy backfill"
POLICIES: dict[str, tuple[Callable[[TraceJob], Waiting], Place]] = {
    OURS: (lambda job: Waiting(job.request, job.organization_id, job.came), fair),
    BACKFILL: (_in_one_line, greedy),
    "strict FIFO": (_in_one_line, strict),
    "clairvoyant shortest first": (lambda job: Waiting(job.request, "everybody", job.runs), greedy),
}

if __name__ == "__main__":
    sys.exit(main())
