"""Choosing the GPUs of a node: simulated ones when its owner says so, otherwise what the driver shows."""

from provider_agent.gpus.nvml import open_nvml
from provider_agent.gpus.port import Gpus
from provider_agent.gpus.simulated import SimulatedGpus


def open_gpus(simulate: str | None, public_key: str) -> Gpus:
    """simulate: an expression such as `H100:2`, or None. Raises InvalidInput on one that is not understood."""
    return SimulatedGpus(simulate, public_key) if simulate else open_nvml()
