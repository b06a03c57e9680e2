"""What is asked of a node and what a node has: GPU expressions, sizes, quantities."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
SIZE_MAX_BYTES = 2**50
GPU_COUNT_MAX = 64
CPU_MILLI_MAX = 4096 * 1000
NOMINAL_LOW, NOMINAL_HIGH = 94, 113
"""Percent of the nominal size that cards sold under it report: an "80GB" H100 has 85.5e9 bytes, a "24GB" A10 24.1e9."""

_SIZE = re.compile(r"^(\d{1,12}(?:\.\d{1,3})?)\s*([KMGT]i?B|B)?$", re.IGNORECASE | re.ASCII)
_CPU = re.compile(r"^(\d{1,7})m$|^(\d{1,5}(?:\.\d{1,3})?)$", re.ASCII)
MIG_UUID = "MIG-"
"""What the UUIDs of slices begin with, and no others."""
_PROFILE = re.compile(r"^\d{1,2}g\.\d{1,4}gb(?:[+-][a-z.]{1,12})*$", re.ASCII)
_MODEL = re.compile(r"^[A-Za-z][A-Za-z0-9][A-Za-z0-9 _-]{0,38}$")


class Unit(StrEnum):
    """What an offer prices by the hour."""

    GPU = "gpu"
    CPU = "cpu"


class GpuRequest(BaseModel):
    """GPUs of one node. model: words that follow each other in a card's name, in any case; None is any.

    mig: the profile of the slice of a card that is asked for, such as 1g.10gb; None is a whole card, never a slice.
    """

    model_config = ConfigDict(frozen=True)

    count: int = Field(ge=1, le=GPU_COUNT_MAX)
    model: str | None = None
    memory_min_bytes: int | None = None
    memory_max_bytes: int | None = None
    mig: str | None = None


class GpuFacts(BaseModel):
    """One device of a node as its agent sees it. uuid: NVML's, such as GPU-5c9e...; simulated ones start with SIM-.

    mig: whether the card is cut (MIG mode). mig_profile: such as 1g.10gb, of a slice of one; a slice's UUID is MIG-...
    pci_device_id: device and vendor as PCI has them (0x233010DE); power_limit_milliwatts: the one that is enforced;
    nvlinks: how many are active; None is what the driver does not tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uuid: str = Field(min_length=5, max_length=64, pattern=r"^[A-Za-z0-9-]+$")
    index: int = Field(ge=0, le=1023)
    model: str = Field(min_length=1, max_length=80)
    memory_bytes: int = Field(gt=0, le=SIZE_MAX_BYTES)
    compute_capability: str | None = Field(default=None, max_length=16)
    pci_bus_id: str | None = Field(default=None, max_length=32)
    pci_device_id: int | None = Field(default=None, ge=0, lt=2**32)
    power_limit_milliwatts: int | None = Field(default=None, ge=0, le=10_000_000)
    ecc: bool | None = None
    mig: bool | None = None
    mig_profile: str | None = Field(default=None, max_length=40, pattern=r"^[a-z0-9.+-]+$")
    nvlinks: int | None = Field(default=None, ge=0, le=64)


class Inventory(BaseModel):
    """What a node has to offer; sent at join and whenever it changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hostname: str = Field(min_length=1, max_length=253)
    cpu_milli: int = Field(gt=0, le=CPU_MILLI_MAX)
    memory_bytes: int = Field(gt=0, le=SIZE_MAX_BYTES)
    disk_bytes: int = Field(gt=0, le=SIZE_MAX_BYTES)
    gpus: list[GpuFacts] = Field(default_factory=list, max_length=GPU_COUNT_MAX)
    simulated: bool = False
    sandbox: str = Field(max_length=40)
    driver_version: str | None = Field(default=None, max_length=40)
    cuda_version: str | None = Field(default=None, max_length=16)
    agent_version: str = Field(max_length=40)


def parse_size(text: str | int) -> int:
    """Bytes of "4GB", "512MiB" or a plain number of bytes. Raises ValueError."""
    match = _SIZE.match(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write it like 4GB or 512MiB")
    size = int(float(match[1]) * BYTES[(match[2] or "B").upper()])
    if not 0 < size <= SIZE_MAX_BYTES:
        raise ValueError(f"{text!r} is out of range: between 1 byte and 1 PiB")
    return size


def parse_cpu(text: str | int | float) -> int:
    """Thousandths of a CPU of 2, 0.5 or "500m". Raises ValueError."""
    word = str(text).strip()
    match = _CPU.match(word)
    milli = 0 if match is None else int(match[1]) if match[1] else round(float(match[2]) * 1000)
    if not 0 < milli <= CPU_MILLI_MAX:
        raise ValueError(f"{text!r} is not a number of CPUs: write it like 2, 0.5 or 500m")
    return milli


def parse_gpu(value: str | int | float | Mapping[str, Any]) -> GpuRequest | None:
    """The GPUs asked for: `H100`, `H100:2`, `H100:80GB:2`, `24GB`, `24GB..`, `24GB..48GB:2`, `2`; 0 is none.

    A size is nominal (what the card is sold as); with `..` it is a range of sizes. A MIG profile asks for one slice of
    a card that is cut so: `A100:1g.5gb`, `1g.10gb`. Raises ValueError.
    """
    word = str(value).strip()
    if word in ("0", ""):
        return None
    model: str | None = None
    low: int | None = None
    high: int | None = None
    count: int | None = None
    mig: str | None = None
    for part in word.split(":"):
        if part.isascii() and part.isdigit() and count is None:
            # Of more digits only their number matters.
            count = int(part[:9])
        elif (".." in part or _SIZE.match(part)) and low is None and high is None and not _is_fraction(part):
            low, high = _memory_range(part)
        elif _PROFILE.match(part.lower()) and mig is None:
            mig = part.lower()
        elif _MODEL.match(part) and model is None and low is None and count is None and mig is None:
            model = part
        else:
            raise ValueError(_gpu_remedy(word, part))
    if count is not None and not 1 <= count <= GPU_COUNT_MAX:
        raise ValueError(f"{word!r}: ask for 1 to {GPU_COUNT_MAX} GPUs")
    if mig is not None and count not in (None, 1):
        raise ValueError(
            f"{word!r}: a program sees one slice of a card; ask for one of a larger profile, or for a card"
        )
    return GpuRequest(count=count or 1, model=model, memory_min_bytes=low, memory_max_bytes=high, mig=mig)


def gpu_matches(request: GpuRequest, model: str, memory_bytes: int) -> bool:
    """Whether a card of that name and memory is one that was asked for."""
    if request.model is not None:
        wanted = _words(request.model)
        name = _words(model)
        if not any(name[start : start + len(wanted)] == wanted for start in range(len(name))):
            return False
    if request.memory_min_bytes is not None and memory_bytes < request.memory_min_bytes:
        return False
    return request.memory_max_bytes is None or memory_bytes <= request.memory_max_bytes


def _words(name: str) -> list[str]:
    """The words of a card's name: "NVIDIA GeForce RTX 4090" and "RTX4090" both end in rtx, 4090."""
    return re.findall(r"[a-z]+\d*[a-z]*|\d+[a-z]*", re.sub(r"(rtx|gtx)(\d)", r"\1 \2", name.lower()))


def _memory_range(part: str) -> tuple[int | None, int | None]:
    if ".." not in part:
        nominal = parse_size(part)
        return nominal * NOMINAL_LOW // 100, nominal * NOMINAL_HIGH // 100
    first, _, last = part.partition("..")
    low = parse_size(first) * NOMINAL_LOW // 100 if first else None
    high = parse_size(last) * NOMINAL_HIGH // 100 if last else None
    if low is None and high is None:
        raise ValueError(f"{part!r}: a range needs at least one end, like 24GB..")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{part!r}: the range is empty")
    return low, high


def _is_fraction(part: str) -> bool:
    return re.match(r"^\d*\.\d+$", part) is not None


def _gpu_remedy(word: str, part: str) -> str:
    if _is_fraction(part):
        return f"{word!r}: shares of a GPU are not available yet; ask for whole ones"
    ways = "MODEL, MODEL:COUNT, MODEL:MEMORY:COUNT, 24GB.. or a count, or for a MIG slice MODEL:1g.10gb"
    return f"{word!r}: {part!r} is not understood; write {ways}"
