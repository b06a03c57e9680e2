"""GPUs as NVIDIA's management library tells of them; a field that it does not tell is left out, not guessed.

Devices are asked by handles that are kept for a few looks. An error about a field costs the field, one about a device
the device, and a driver that went away is opened again at the next look.
"""

import ctypes
import importlib
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from market.resources import GPU_COUNT_MAX, GpuFacts
from provider_agent.gpus.catalogue import compute_capability
from provider_agent.gpus.nvml_fields import checkup_of, nvlinks_of, pulse_of
from provider_agent.gpus.port import Gpus, NoGpus
from provider_agent.gpus.readings import Checkup, GpuReading, Look, Pulse, Trouble, XidEvent

LIBRARY = "libnvidia-ml.so.1"
SHARED_DEVICE_FILES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
CHECKUP_EVERY = 5
"""Looks between two check-ups, which ask more and find the devices anew."""
EVENTS_MAX = 64

_UUID = re.compile(r"[A-Za-z0-9-]{5,64}")
_Field = TypeVar("_Field")

_log = structlog.get_logger(__name__)


def open_nvml() -> Gpus:
    """The GPUs behind the installed driver, which may not answer yet; none where no driver is installed."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return NoGpus(f"no NVIDIA driver here ({LIBRARY} is not installed)")
    # Imported only where there is a driver: the binding costs 11 MB.
    return NvmlGpus(importlib.import_module("pynvml"))


class NvmlGpus:
    """The devices of one NVML. One thread alone asks it."""

    simulated = False

    def __init__(self, binding: Any) -> None:
        self._nvml = binding
        self._open = False
        self._handles: dict[str, tuple[int, Any]] = {}
        self._checkups: dict[str, Checkup] = {}
        self._files: dict[str, str] = {}
        self._events: Any = None
        self._looks = 0
        self._found = Look()
        self._known: dict[str, GpuFacts] = {}
        self.driver_version: str | None = None
        self.cuda_version: str | None = None
        self._find()

    @property
    def note(self) -> str:
        if self._found.driver is not None:
            return f"the NVIDIA driver does not answer: {self._found.driver_words}"
        count = len(self._handles)
        skipped = "".join(f"; {reason} and is not offered" for reason in self._found.unnamed)
        return f"{count} GPU{'s' if count != 1 else ''}, driver {self.driver_version or 'of unknown version'}{skipped}"

    def facts(self) -> list[GpuFacts]:
        self._find()
        self._known |= {
            uuid: facts
            for uuid, (index, device) in self._handles.items()
            if (facts := self._facts(uuid, index, device)) is not None
        }
        return [self._known[uuid] for uuid in self._handles if uuid in self._known]

    def look(self) -> Look:
        """A look at what changes quickly; every few looks, and after trouble, at everything."""
        full = self._looks % CHECKUP_EVERY == 0 or self._found.driver is not None
        self._looks += 1
        if full:
            self._find()
        found = self._found
        devices = tuple(
            self._reading(uuid, index, device, full=full) for uuid, (index, device) in self._handles.items()
        )
        if any(device.trouble for device in devices):
            # Handles of a reset or reloaded device are void: the next look finds it anew.
            self._looks = 0
        return Look(
            devices=devices,
            driver=found.driver,
            driver_words=found.driver_words,
            driver_version=self.driver_version,
            unnamed=found.unnamed,
            twice=found.twice,
            xids=tuple(self._take_events()),
        )

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        wanted = list(uuids)
        if not wanted:
            return []
        shared = [path for path in SHARED_DEVICE_FILES if Path(path).exists()]
        return shared + [self._files[uuid] for uuid in wanted if uuid in self._files]

    def _find(self) -> None:
        """The devices there are now, by UUID, and whether the driver answers at all."""
        try:
            if not self._open:
                self._nvml.nvmlInit()
                self._open = True
                self.driver_version = self._told(self._nvml.nvmlSystemGetDriverVersion)
                self.cuda_version = self._cuda_version()
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as error:
            self._close(error)
            return
        handles: dict[str, tuple[int, Any]] = {}
        unnamed: list[str] = []
        twice: set[str] = set()
        for index in range(min(count, GPU_COUNT_MAX)):
            device = self._told(self._nvml.nvmlDeviceGetHandleByIndex, index)
            uuid = None if device is None else self._uuid(device)
            memory = None if device is None else self._told(self._nvml.nvmlDeviceGetMemoryInfo, device)
            if uuid is None or (uuid not in self._files and (memory is None or int(memory.total) <= 0)):
                # Nothing can be promised about it. A known one is judged by what it answers.
                unnamed.append(f"device {index} does not tell its UUID and memory")
            elif uuid in handles:
                twice.add(uuid)
            else:
                handles[uuid] = (index, device)
        self._handles = handles
        # Those that had a name once are missed under it, not counted among the nameless.
        missed = len(self._files.keys() - handles.keys())
        self._found = Look(unnamed=tuple(unnamed[missed:]), twice=frozenset(twice))
        self._keep_files()
        self._listen()

    def _close(self, error: Any) -> None:
        """The driver does not answer: it is opened anew at the next look."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()
        self._open, self._events, self._handles = False, None, {}
        mismatch = getattr(error, "value", None) == self._nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        self._found = Look(driver=Trouble.MISMATCH if mismatch else Trouble.SILENT, driver_words=str(error)[:120])

    def _keep_files(self) -> None:
        for uuid, (index, device) in self._handles.items():
            minor = self._told(self._nvml.nvmlDeviceGetMinorNumber, device)
            if minor is not None or uuid not in self._files:
                self._files[uuid] = f"/dev/nvidia{index if minor is None else minor}"

    def _reading(self, uuid: str, index: int, device: Any, *, full: bool) -> GpuReading:
        troubles: list[Trouble] = []

        def told(name: str, *arguments: Any) -> Any:
            try:
                return getattr(self._nvml, name)(device, *arguments)
            except self._nvml.NVMLError as error:
                if (trouble := self._trouble_of(error)) is not None:
                    troubles.append(trouble)
                return None

        pulse = pulse_of(told)
        if full and not troubles:
            self._checkups[uuid] = checkup_of(told)
        if troubles:
            serious = min(troubles, key=list(Trouble).index)
            # An unknown error about some fields costs these fields; a device is silent when it tells nothing at all.
            if serious is not Trouble.SILENT or pulse == Pulse():
                return GpuReading(uuid, index, trouble=serious)
        return GpuReading(uuid, index, pulse, self._checkups.get(uuid, Checkup()))

    def _trouble_of(self, error: Any) -> Trouble | None:
        nvml = self._nvml
        if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_GPU_NOT_FOUND):
            return Trouble.LOST
        if error.value == nvml.NVML_ERROR_RESET_REQUIRED:
            return Trouble.NEEDS_RESET
        return Trouble.SILENT if error.value == nvml.NVML_ERROR_UNKNOWN else None

    def _facts(self, uuid: str, index: int, device: Any) -> GpuFacts | None:
        """None for one that does not tell what it has; what it told before stays true."""

        def told(name: str, *arguments: Any) -> Any:
            return self._told(getattr(self._nvml, name), device, *arguments)

        memory = told("nvmlDeviceGetMemoryInfo")
        if memory is None or int(memory.total) <= 0:
            return None
        capability = told("nvmlDeviceGetCudaComputeCapability")
        pci = told("nvmlDeviceGetPciInfo")
        mig = told("nvmlDeviceGetMigMode")
        ecc = told("nvmlDeviceGetEccMode")
        model = (told("nvmlDeviceGetName") or "unknown NVIDIA GPU")[:80]
        try:
            return GpuFacts(
                uuid=uuid,
                index=index,
                model=model,
                memory_bytes=int(memory.total),
                compute_capability=f"{capability[0]}.{capability[1]}" if capability else compute_capability(model),
                pci_bus_id=_text(pci.busId) if pci is not None else None,
                pci_device_id=int(pci.pciDeviceId) if pci is not None else None,
                power_limit_milliwatts=told("nvmlDeviceGetEnforcedPowerLimit"),
                ecc=None if ecc is None else bool(ecc[0]),
                mig=None if mig is None else bool(mig[0]),
                nvlinks=nvlinks_of(told)[1],
            )
        except ValidationError as error:
            _log.warning("a device tells what cannot be", uuid=uuid, field=error.errors(include_url=False)[0]["loc"])
            return None

    def _uuid(self, device: Any) -> str | None:
        """None for one that does not tell it, or tells something that is none."""
        told = self._told(self._nvml.nvmlDeviceGetUUID, device)
        return told if told is not None and _UUID.fullmatch(told) else None

    def _listen(self) -> None:
        """Have Xid events kept for us; a driver that cannot do this tells of its faults in other ways."""
        nvml = self._nvml
        if self._events is not None or not self._handles:
            return
        self._events = self._told(nvml.nvmlEventSetCreate)
        if self._events is not None:
            for _, device in self._handles.values():
                self._told(nvml.nvmlDeviceRegisterEvents, device, nvml.nvmlEventTypeXidCriticalError, self._events)

    def _take_events(self) -> Iterable[XidEvent]:
        nvml = self._nvml
        for _ in range(EVENTS_MAX if self._events is not None else 0):
            event = self._told(nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                return
            uuid = self._uuid(event.device) or self._uuid_of(event.device)
            if event.eventType == nvml.nvmlEventTypeXidCriticalError and uuid is not None:
                yield XidEvent(uuid, int(event.eventData))

    def _uuid_of(self, device: Any) -> str | None:
        """A lost device no longer says its UUID; its handle is still known."""
        address = ctypes.cast(device, ctypes.c_void_p).value
        known = ((uuid, ctypes.cast(handle, ctypes.c_void_p).value) for uuid, (_, handle) in self._handles.items())
        return next((uuid for uuid, handle in known if handle == address), None)

    def _cuda_version(self) -> str | None:
        number = self._told(self._nvml.nvmlSystemGetCudaDriverVersion)
        return None if number is None else f"{number // 1000}.{number % 1000 // 10}"

    def _told(self, ask: Callable[..., _Field], *arguments: Any) -> _Field | None:
        """What the library says, or None: drivers differ in what they know, and a lost card answers with errors."""
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
