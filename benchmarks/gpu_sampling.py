"""What a look a second at eight GPUs costs: the real binding over the fake driver of the tests, in CPU time (issue 6).

The fake reads its file at every call, which a real driver does not; a real driver's own work it does not do. Both the
looks of the driver's thread and the judging of them are counted, check-ups and roll-ups included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provider_agent.gpus.catalogue import contradiction
from provider_agent.gpus.nvml import open_nvml
from provider_agent.health.judging import Memory, step
from provider_agent.health.surroundings import Surroundings, read_disk
from provider_agent.health.watch import GpuWatch

SOURCE = Path(__file__).parents[1] / "tests" / "provider_agent" / "gpus" / "fake_nvml.c"
GPUS = 8
LOOKS, QUICK_LOOKS = 600, 60
TARGET_PERCENT = 1.0


def main() -> None:
    """Print the shares of a core and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--looks", type=int, default=LOOKS)
    parser.add_argument("--quick", action="store_true", help="a minute's looks: to see that it works")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    looks = QUICK_LOOKS if options.quick else options.looks
    if options.inside:
        print(json.dumps(measure(looks)))
        return
    with tempfile.TemporaryDirectory(prefix="gridbay-sampling-") as folder:
        figures = in_a_process_with_a_driver(Path(folder), looks)
    load = os.getloadavg()[0]
    print(f"{GPUS} GPUs, {looks} looks, a second of pretended time each; load {load:.1f}")
    print(f"asking the driver    {figures['asking_percent']:.3f} % of a core")
    print(f"judging and counting {figures['judging_percent']:.3f} %")
    print(f"together             {figures['percent']:.3f} %, the slowest look {figures['slowest_ms']:.1f} ms of CPU")
    print(json.dumps({**figures, "gpus": GPUS, "looks": looks, "load": load, "target_percent": TARGET_PERCENT}))


def in_a_process_with_a_driver(folder: Path, looks: int) -> dict[str, float]:
    """The library path is read when a process starts."""
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    steering = folder / "steering"
    steering.write_text(f"count {GPUS}\n*.busy 97\n*.memory_used 60000000000\n*.power 612000\n")
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_sampling", "--inside", "--looks", str(looks)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(steering)},
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(told.stdout))


def measure(looks: int) -> dict[str, float]:
    """CPU seconds of this process (user and system) over pretended seconds, in percent."""
    gpus = open_nvml()
    now_s = 0.0
    watch = GpuWatch(gpus, gpus.facts(), lambda: now_s)
    memory, folder, asking, judging, slowest = Memory(), Path.cwd(), 0.0, 0.0, 0.0
    for _ in range(looks):
        now_s += 1.0
        began = time.process_time()
        watch.look(1.0)
        looked = time.process_time()
        facts = watch.seen.facts
        around = Surroundings(
            pool=watch.ever,
            seen=watch.ever,
            contradictions={fact.uuid: words for fact in facts if (words := contradiction(fact))},
            disk=read_disk(folder),
        )
        memory, _ = step(memory, watch.newest(), around, now_s=now_s, boot_id="boot")
        watch.minute_told(watch.minute_to_tell())
        ended = time.process_time()
        asking, judging = asking + looked - began, judging + ended - looked
        slowest = max(slowest, ended - began)
    return {
        "asking_percent": round(100 * asking / looks, 4),
        "judging_percent": round(100 * judging / looks, 4),
        "percent": round(100 * (asking + judging) / looks, 4),
        "slowest_ms": round(slowest * 1000, 2),
    }


if __name__ == "__main__":
    main()
