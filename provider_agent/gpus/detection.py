"""Choosing the GPUs of a node: simulated ones when its owner says so, otherwise what the driver shows."""

import queue
import threading

from provider_agent.gpus.nvml import open_nvml
from provider_agent.gpus.port import Gpus, NoGpus
from provider_agent.gpus.simulated import SimulatedGpus

OPEN_SECONDS_MAX = 60.0
"""A driver that loads the firmware of eight cards takes its time; one that hangs takes for ever."""


def open_gpus(simulate: str | None, public_key: str, seconds_max: float = OPEN_SECONDS_MAX) -> Gpus:
    """simulate: an expression such as `H100:2`, or None. Raises InvalidInput on one that is not understood."""
    return SimulatedGpus(simulate, public_key) if simulate else _open_promptly(seconds_max)


def _open_promptly(seconds_max: float) -> Gpus:
    """In a thread of its own: a driver that hangs keeps it, and not the agent."""
    opened: queue.SimpleQueue[Gpus | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            gpus = open_nvml()
            gpus.facts()
        except Exception as error:
            opened.put(error)
        else:
            opened.put(gpus)

    threading.Thread(target=work, name="gpus-open", daemon=True).start()
    try:
        found = opened.get(timeout=seconds_max)
    except queue.Empty:
        return NoGpus(f"the NVIDIA driver does not answer: it hangs for {seconds_max:.0f} s", hung=True)
    if isinstance(found, Exception):
        raise found
    return found
