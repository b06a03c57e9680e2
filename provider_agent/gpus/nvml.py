"""GPUs as NVIDIA's management library tells of them; a field that it does not tell is left out, not guessed."""

import ctypes
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from market.resources import GPU_COUNT_MAX, GpuFacts
from provider_agent.gpus.port import Gpus, NoGpus

LIBRARY = "libnvidia-ml.so.1"
SHARED_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
MIB = 2**20
_Field = TypeVar("_Field")


def open_nvml() -> Gpus:
    """The GPUs behind the installed driver, or none with the reason."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return NoGpus(f"no NVIDIA driver here ({LIBRARY} is not installed)")
    # Imported only where there is a driver: the binding costs 11 MB.
    binding = importlib.import_module("pynvml")
    try:
        binding.nvmlInit()
    except binding.NVMLError as error:
        return NoGpus(f"the NVIDIA driver does not answer: {error}")
    return NvmlGpus(binding)


class NvmlGpus:
    """The devices of one initialized NVML."""

    simulated = False

    def __init__(self, binding: Any) -> None:
        self._nvml = binding
        self.driver_version = self._told(binding.nvmlSystemGetDriverVersion)
        self._skipped: set[str] = set()

    @property
    def note(self) -> str:
        count = len(self.facts())
        skipped = "".join(f"; {reason}" for reason in sorted(self._skipped))
        return f"{count} GPU{'s' if count != 1 else ''}, driver {self.driver_version or 'of unknown version'}{skipped}"

    def facts(self) -> list[GpuFacts]:
        self._skipped = set()
        found = (self._facts(index, device) for index, device in self._devices())
        return [facts for facts in found if facts is not None]

    def busy_percent(self) -> dict[str, int]:
        busy: dict[str, int] = {}
        for _, device in self._devices():
            uuid = self._told(self._nvml.nvmlDeviceGetUUID, device)
            rates = self._told(self._nvml.nvmlDeviceGetUtilizationRates, device)
            if uuid is not None and rates is not None:
                busy[uuid] = min(100, int(rates.gpu))
        return busy

    def gauges(self) -> dict[str, dict[str, float]]:
        told: dict[str, dict[str, float]] = {}
        for _, device in self._devices():
            uuid = self._told(self._nvml.nvmlDeviceGetUUID, device)
            if uuid is not None:
                told[uuid] = {name: value for name, value in self._gauges_of(device) if value is not None}
        return told

    def _gauges_of(self, device: Any) -> Iterable[tuple[str, float | None]]:
        nvml = self._nvml
        rates = self._told(nvml.nvmlDeviceGetUtilizationRates, device)
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, device)
        milliwatts = self._told(nvml.nvmlDeviceGetPowerUsage, device)
        yield "DCGM_FI_DEV_GPU_UTIL", None if rates is None else rates.gpu
        yield "DCGM_FI_DEV_FB_USED", None if memory is None else memory.used // MIB
        yield "DCGM_FI_DEV_FB_FREE", None if memory is None else memory.free // MIB
        yield "DCGM_FI_DEV_GPU_TEMP", self._told(nvml.nvmlDeviceGetTemperature, device, nvml.NVML_TEMPERATURE_GPU)
        yield "DCGM_FI_DEV_POWER_USAGE", None if milliwatts is None else milliwatts / 1000

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        wanted = set(uuids)
        if not wanted:
            return []
        files = [path for path in SHARED_DEVICE_FILES if Path(path).exists()]
        for index, device in self._devices():
            if self._told(self._nvml.nvmlDeviceGetUUID, device) in wanted:
                minor = self._told(self._nvml.nvmlDeviceGetMinorNumber, device)
                files.append(f"/dev/nvidia{index if minor is None else minor}")
        return files

    def _devices(self) -> list[tuple[int, Any]]:
        count = self._told(self._nvml.nvmlDeviceGetCount) or 0
        handles = (
            (index, self._told(self._nvml.nvmlDeviceGetHandleByIndex, index))
            for index in range(min(count, GPU_COUNT_MAX))
        )
        return [(index, device) for index, device in handles if device is not None]

    def _facts(self, index: int, device: Any) -> GpuFacts | None:
        """None for a device that cannot be leased: without a UUID and memory nothing can be promised about it."""
        nvml = self._nvml
        uuid = self._told(nvml.nvmlDeviceGetUUID, device)
        memory = self._told(nvml.nvmlDeviceGetMemoryInfo, device)
        if uuid is None or memory is None or int(memory.total) <= 0:
            self._skipped.add(f"device {index} does not tell its UUID and memory and is not offered")
            return None
        mig = self._told(nvml.nvmlDeviceGetMigMode, device)
        if mig is not None and mig[0] == 1:
            self._skipped.add(f"{uuid} is in MIG mode and is not offered")
            return None
        capability = self._told(nvml.nvmlDeviceGetCudaComputeCapability, device)
        pci = self._told(nvml.nvmlDeviceGetPciInfo, device)
        return GpuFacts(
            uuid=uuid,
            index=index,
            model=(self._told(nvml.nvmlDeviceGetName, device) or "unknown NVIDIA GPU")[:80],
            memory_bytes=int(memory.total),
            compute_capability=f"{capability[0]}.{capability[1]}" if capability else None,
            pci_bus_id=_text(pci.busId) if pci is not None else None,
            power_limit_milliwatts=self._told(nvml.nvmlDeviceGetEnforcedPowerLimit, device),
        )

    def _told(self, ask: Callable[..., _Field], *arguments: Any) -> _Field | None:
        """What the library says, or None: drivers differ in what they know, and a lost card answers with errors."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
