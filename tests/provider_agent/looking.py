"""A process that looks at the GPUs of the driver it was started with, as often as it is told, and says what it finds.

The library path is read when a process starts, so the fake driver is seen by a process of its own. Each line of stdin
is {"looks": n, "seconds": between two of them, "fresh": whether to begin anew, "leased": [uuid]}; a line answers it.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from provider_agent import journal
from provider_agent.gpus.catalogue import contradiction
from provider_agent.gpus.dcgm import told_by
from provider_agent.gpus.nvml import open_nvml
from provider_agent.health.judging import Memory, step
from provider_agent.health.surroundings import Surroundings
from provider_agent.health.watch import GpuWatch

BOOT = "the one and only boot"


class Looking:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.memory = Memory()
        self.gpus = open_nvml(Path(os.environ["FAKE_MIG_MINORS"]))
        self.watch = GpuWatch(self.gpus, self.gpus.facts(), lambda: self.now_s)
        self.pool = self.watch.ever

    def look(self, looks: int, seconds: float, leased: list[str]) -> dict[str, object]:
        conditions = []
        for _ in range(looks):
            self.now_s += seconds
            self.watch.look(seconds)
            facts = self.watch.seen.facts
            doubts = {fact.uuid: words for fact in facts if (words := contradiction(fact)) is not None}
            around = Surroundings(pool=self.pool, seen=self.watch.ever, leased=frozenset(leased), contradictions=doubts)
            look = self.watch.newest()
            self.memory, conditions = step(self.memory, look, around, now_s=self.now_s, boot_id=BOOT)
        return {
            "conditions": [condition.model_dump(mode="json") for condition in conditions],
            "facts": [fact.model_dump(mode="json") for fact in self.watch.seen.facts],
            "note": self.gpus.note,
            "versions": [self.gpus.driver_version, self.gpus.cuda_version],
            "readings": {reading.uuid: asdict(reading) for reading in self.watch.seen.look.devices},
            "dcgm": {reading.uuid: dict(told_by(reading)) for reading in self.watch.seen.look.devices},
            "busy_ms": {uuid: self.watch.busy.total_ms([uuid]) for uuid in self.watch.ever},
            "minute": [minute.model_dump(mode="json") for minute in self.watch.minute_to_tell()],
            "files": self.gpus.device_files([fact.uuid for fact in self.watch.seen.facts]),
        }


def main() -> None:
    journal.configure()
    looking: Looking | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if looking is None or asked.pop("fresh", False):
            looking = Looking()
        print(json.dumps(looking.look(asked["looks"], asked["seconds"], asked.get("leased", []))), flush=True)


if __name__ == "__main__":
    main()
