"""GPUs as NVIDIA's management library tells of them; a field that it does not tell is left out, not guessed.

A card that is cut (MIG) is not offered whole: each of its slices is a device (devices.py). Devices are asked by handles
that are kept for a few looks. An error about a field costs the field, one about a device the device, and a driver that
went away is opened again at the next look.
"""

import ctypes
import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from market.resources import GPU_COUNT_MAX, GpuFacts
from provider_agent.gpus.catalogue import compute_capability
from provider_agent.gpus.devices import (
    MIG_MINORS,
    NO_INSTANCE,
    Device,
    capabilities,
    files_of,
    has_its_own_memory,
    is_cut,
    slices_of,
)
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


def open_nvml(minors: Path = MIG_MINORS) -> Gpus:
    """The GPUs behind the installed driver, which may not answer yet; none where no driver is installed."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return NoGpus(f"no NVIDIA driver here ({LIBRARY} is not installed)")
    # Imported only where there is a driver: the binding costs 11 MB.
    return NvmlGpus(importlib.import_module("pynvml"), minors)


class NvmlGpus:
    """The devices of one NVML. One thread alone asks it."""

    simulated = False

    def __init__(self, binding: Any, minors: Path = MIG_MINORS) -> None:
        self._nvml = binding
        self._minors = minors
        self._open = False
        self._devices: dict[str, Device] = {}
        self._checkups: dict[str, Checkup] = {}
        self._files: dict[str, tuple[str, ...]] = {}
        self._card_of: dict[str, str] = {}
        self._cut: set[str] = set()
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
        count, slices = len(self._devices), sum(each.profile is not None for each in self._devices.values())
        skipped = "".join(f"; {reason} and is not offered" for reason in self._found.unnamed)
        found = f"{count} GPU{'s' if count != 1 else ''}{f' ({slices} of them MIG slices)' if slices else ''}"
        return f"{found}, driver {self.driver_version or 'of unknown version'}{skipped}"

    def facts(self) -> list[GpuFacts]:
        self._find()
        self._known |= {
            uuid: facts for uuid, device in self._devices.items() if (facts := self._facts(device)) is not None
        }
        return [self._known[uuid] for uuid in self._devices if uuid in self._known]

    def look(self) -> Look:
        """A look at what changes quickly; every few looks, and after trouble, at everything."""
        full = self._looks % CHECKUP_EVERY == 0 or self._found.driver is not None
        self._looks += 1
        if full:
            self._find()
        found = self._found
        devices = tuple(self._reading(device, full=full) for device in self._devices.values())
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
            recut=found.recut,
            xids=tuple(self._take_events()),
        )

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        wanted = list(uuids)
        if not wanted:
            return []
        if gone := [uuid for uuid in wanted if uuid not in self._files]:
            raise LookupError(f"the GPU {gone[0]} is not there")
        shared = [path for path in SHARED_DEVICE_FILES if Path(path).exists()]
        own = (path for uuid in wanted for path in self._files[uuid])
        return [*shared, *dict.fromkeys(own)]

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
        found: dict[str, Device] = {}
        unnamed: list[str] = []
        twice: set[str] = set()
        answering: set[str] = set()
        opened_by = capabilities(self._minors)
        for index in range(min(count, GPU_COUNT_MAX)):
            card = self._told(self._nvml.nvmlDeviceGetHandleByIndex, index)
            card_uuid = None if card is None else self._uuid(card)
            if card is None or card_uuid is None:
                unnamed.append(f"device {index} does not tell its UUID and memory")
                continue
            answering.add(card_uuid)
            for device in self._on_card(index, card, card_uuid, unnamed):
                if device.uuid in found:
                    twice.add(device.uuid)
                elif self._can_be_promised(device, opened_by, unnamed):
                    found[device.uuid] = device
        self._devices = dict(list(found.items())[:GPU_COUNT_MAX])
        # Those that had a name once are missed under it, not counted among the nameless.
        missed = len(set(self._card_of.values()) - answering)
        self._card_of |= {uuid: device.card_uuid for uuid, device in self._devices.items()}
        recut = {uuid for uuid, card in self._card_of.items() if card in answering and uuid not in found}
        for uuid in recut:
            # What opened it may open another slice now.
            self._files.pop(uuid, None)
        self._found = Look(unnamed=tuple(unnamed[missed:]), twice=frozenset(twice), recut=frozenset(recut))
        self._listen()

    def _on_card(self, index: int, card: Any, card_uuid: str, unnamed: list[str]) -> list[Device]:
        """The card, or its slices. One that was cut and does not tell now is cut still, and not offered whole."""
        cut = is_cut(self._nvml, self._told, card)
        if not (card_uuid in self._cut if cut is None else cut):
            self._cut.discard(card_uuid)
            return [Device(card_uuid, index, card, card, card_uuid)]
        self._cut.add(card_uuid)
        slices = slices_of(self._nvml, self._told, index, card, card_uuid)
        if not slices and card_uuid not in self._card_of.values():
            unnamed.append(f"device {index} is in MIG mode and has no slices")
        return slices

    def _can_be_promised(self, device: Device, opened_by: Mapping[str, str], unnamed: list[str]) -> bool:
        """A known one is judged by what it answers; one that was never offered must first tell what it is."""
        if device.profile is not None and not has_its_own_memory(device):
            unnamed.append(f"slice {device.profile} of device {device.index} has no memory of its own")
            return False
        memory = self._told(self._nvml.nvmlDeviceGetMemoryInfo, device.handle)
        if device.uuid not in self._files and (
            memory is None or int(memory.total) <= 0 or _UUID.fullmatch(device.uuid) is None
        ):
            unnamed.append(f"device {device.index} does not tell its UUID and memory")
            return False
        minor = self._told(self._nvml.nvmlDeviceGetMinorNumber, device.card)
        if minor is not None or device.uuid not in self._files:
            files = files_of(device, device.index if minor is None else minor, opened_by)
            if files is None:
                unnamed.append(f"slice {device.profile} of device {device.index} is not in {self._minors}")
                return False
            self._files[device.uuid] = files
        return True

    def _close(self, error: Any) -> None:
        """The driver does not answer: it is opened anew at the next look."""
        with suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()
        self._open, self._events, self._devices = False, None, {}
        mismatch = getattr(error, "value", None) == self._nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        self._found = Look(driver=Trouble.MISMATCH if mismatch else Trouble.SILENT, driver_words=str(error)[:120])

    def _reading(self, device: Device, *, full: bool) -> GpuReading:
        uuid, index = device.uuid, device.index
        troubles: list[Trouble] = []

        def told(name: str, *arguments: Any) -> Any:
            handle = device.asked_for(name)
            if handle is None:
                return None
            try:
                return getattr(self._nvml, name)(handle, *arguments)
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

    def _facts(self, device: Device) -> GpuFacts | None:
        """None for one that does not tell what it has; what it told before stays true."""

        def told(name: str, *arguments: Any) -> Any:
            handle = device.asked_for(name)
            return None if handle is None else self._told(getattr(self._nvml, name), handle, *arguments)

        memory = told("nvmlDeviceGetMemoryInfo")
        if memory is None or int(memory.total) <= 0:
            return None
        capability = told("nvmlDeviceGetCudaComputeCapability")
        pci = told("nvmlDeviceGetPciInfo")
        mig = told("nvmlDeviceGetMigMode")
        ecc = told("nvmlDeviceGetEccMode")
        model = model_of(told("nvmlDeviceGetName"), device.profile)
        try:
            return GpuFacts(
                uuid=device.uuid,
                index=device.index,
                model=model,
                memory_bytes=int(memory.total),
                compute_capability=f"{capability[0]}.{capability[1]}" if capability else compute_capability(model),
                pci_bus_id=_text(pci.busId) if pci is not None else None,
                pci_device_id=int(pci.pciDeviceId) if pci is not None else None,
                power_limit_milliwatts=told("nvmlDeviceGetEnforcedPowerLimit"),
                ecc=None if ecc is None else bool(ecc[0]),
                mig=None if mig is None else bool(mig[0]),
                mig_profile=device.profile,
                nvlinks=nvlinks_of(told)[1],
            )
        except ValidationError as error:
            _log.warning(
                "a device tells what cannot be", uuid=device.uuid, field=error.errors(include_url=False)[0]["loc"]
            )
            return None

    def _uuid(self, device: Any) -> str | None:
        """None for one that does not tell it, or tells something that is none."""
        told = self._told(self._nvml.nvmlDeviceGetUUID, device)
        return told if told is not None and _UUID.fullmatch(told) else None

    def _listen(self) -> None:
        """Have Xid events kept for us; a driver that cannot do this tells of its faults in other ways."""
        nvml = self._nvml
        if self._events is not None or not self._devices:
            return
        self._events = self._told(nvml.nvmlEventSetCreate)
        if self._events is not None:
            for card in {device.card_uuid: device.card for device in self._devices.values()}.values():
                self._told(nvml.nvmlDeviceRegisterEvents, card, nvml.nvmlEventTypeXidCriticalError, self._events)

    def _take_events(self) -> Iterable[XidEvent]:
        nvml = self._nvml
        for _ in range(EVENTS_MAX if self._events is not None else 0):
            event = self._told(nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                return
            card_uuid = self._uuid(event.device) or self._uuid_of(event.device)
            if event.eventType == nvml.nvmlEventTypeXidCriticalError and card_uuid is not None:
                yield from (XidEvent(uuid, int(event.eventData)) for uuid in self._hit(card_uuid, event.gpuInstanceId))

    def _hit(self, card_uuid: str, instance: int) -> list[str]:
        """Whom a fault of a card concerns: the slice that it names, else all of the card."""
        there = [device for device in self._devices.values() if device.card_uuid == card_uuid]
        named = [device for device in there if instance != NO_INSTANCE and device.gpu_instance == instance]
        return [device.uuid for device in named or there]

    def _uuid_of(self, card: Any) -> str | None:
        """A lost card no longer says its UUID; its handle is still known."""
        address = ctypes.cast(card, ctypes.c_void_p).value
        known = ((each.card_uuid, ctypes.cast(each.card, ctypes.c_void_p).value) for each in self._devices.values())
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


def model_of(name: str | None, profile: str | None) -> str:
    """As NVML writes it. A slice is of a model of its own, so that each profile has its own offer and price."""
    model = name or "unknown NVIDIA GPU"
    if profile is None or model.endswith(f" MIG {profile}"):
        return model[:80]
    return f"{model[: 75 - len(profile)]} MIG {profile}"


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
