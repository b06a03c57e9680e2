"""GPUs that do not exist, for trying the market out: marked as simulated, priced at nothing, never given unasked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from market.errors import InvalidInput
from market.resources import GPU_COUNT_MAX, GpuFacts
from provider_agent.gpus.readings import GpuReading, Look

_MIB = 2**20
_ONE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9 -]{1,30}?)\s*(?::\s*(\d{1,3}))?\s*$")


@dataclass(frozen=True, slots=True)
class Model:
    """name: as NVML writes it; memory_bytes: the total NVML reports; power_limit_watts: the default limit."""

    name: str
    memory_bytes: int
    compute_capability: str
    power_limit_watts: int


MODELS: dict[str, Model] = {
    "T4": Model("Tesla T4", 15_360 * _MIB, "7.5", 70),
    "V100": Model("Tesla V100-SXM2-32GB", 32_768 * _MIB, "7.0", 300),
    "A10": Model("NVIDIA A10", 23_028 * _MIB, "8.6", 150),
    "A100": Model("NVIDIA A100-SXM4-80GB", 81_920 * _MIB, "8.0", 400),
    "L4": Model("NVIDIA L4", 23_034 * _MIB, "8.9", 72),
    "L40S": Model("NVIDIA L40S", 46_068 * _MIB, "8.9", 350),
    "RTX3090": Model("NVIDIA GeForce RTX 3090", 24_576 * _MIB, "8.6", 350),
    "RTX4090": Model("NVIDIA GeForce RTX 4090", 24_564 * _MIB, "8.9", 450),
    "H100": Model("NVIDIA H100 80GB HBM3", 81_559 * _MIB, "9.0", 700),
    "H200": Model("NVIDIA H200", 143_771 * _MIB, "9.0", 700),
    "B200": Model("NVIDIA B200", 183_359 * _MIB, "10.0", 1000),
}
"""By what people write. Sources: names and memory totals (MiB) as `nvidia-smi` prints them for these cards; compute
capability from NVIDIA's table "CUDA GPU Compute Capability"; power from each card's data sheet (SXM forms where two
exist). ECC and driver versions move the memory total by up to a percent."""


class SimulatedGpus:
    """The devices of an expression such as `H100:2` or `H100:2,RTX4090`."""

    simulated = True
    driver_version = None
    cuda_version = None

    def __init__(self, expression: str, public_key: str) -> None:
        """public_key: the node's; it makes the UUIDs its own. Raises InvalidInput, with the models there are."""
        self._facts = _devices(expression, public_key)
        self.note = f"{len(self._facts)} simulated ({expression}); never given to a request that did not ask for it"

    def facts(self) -> list[GpuFacts]:
        return list(self._facts)

    def look(self) -> Look:
        """A device that does not exist tells nothing, and nothing is wrong with it."""
        return Look(tuple(GpuReading(facts.uuid, facts.index) for facts in self._facts))

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        del uuids
        return []


def _devices(expression: str, public_key: str) -> list[GpuFacts]:
    devices: list[GpuFacts] = []
    for part in expression.split(","):
        match = _ONE.match(part)
        model = MODELS.get(re.sub(r"[ -]", "", match[1]).upper()) if match else None
        count = int(match[2] or 1) if match else 0
        if model is None or not 1 <= count <= GPU_COUNT_MAX - len(devices):
            raise InvalidInput(
                f"--simulate {expression!r}: {part.strip()!r} is not understood",
                remedy=f"write MODEL or MODEL:COUNT, up to {GPU_COUNT_MAX} in all, with one of {', '.join(MODELS)}",
            )
        start = len(devices)
        devices += [_device(model, index, public_key) for index in range(start, start + count)]
    return devices


def _device(model: Model, index: int, public_key: str) -> GpuFacts:
    return GpuFacts(
        uuid=f"SIM-{public_key[:16]}-{index}",
        index=index,
        model=model.name,
        memory_bytes=model.memory_bytes,
        compute_capability=model.compute_capability,
        power_limit_milliwatts=model.power_limit_watts * 1000,
    )
