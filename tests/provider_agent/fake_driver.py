"""The fake libnvidia-ml.so.1, compiled, and the file that steers it (gpus/fake_nvml.c says how)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools import tool

SOURCE = Path(__file__).parent / "gpus" / "fake_nvml.c"
HEALTHY = ("count 2",)
_OPENED = ("access", "ci0/access")


def uuid_of(index: int) -> str:
    return f"GPU-5c9e0000-0000-0000-0000-00000000000{index}"


def slice_uuid(card: int, number: int) -> str:
    return f"MIG-5c9e0000-0000-0000-000{card}-00000000000{number}"


def build(folder: Path, *flags: str) -> Path:
    """Compile it into the folder."""
    compiler = tool("gcc", "cc")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-Wall", "-shared", "-fPIC", *flags, "-o", library, SOURCE], check=True)
    return folder


class FakeDriver:
    """One steering file over a compiled library; what it says holds from the next call of the driver on."""

    def __init__(self, library: Path, steering: Path) -> None:
        self._library = library
        self._steering = steering
        self._minors = steering.with_suffix(".minors")
        self.say()

    def say(self, *lines: str) -> None:
        """Two GPUs of which all is well, but for these lines, which go before."""
        fresh = self._steering.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in (*lines, *HEALTHY)))
        fresh.rename(self._steering)

    def open_slices(self, *names: str) -> None:
        """Have files below /dev/nvidia-caps that open these instances, such as gpu190/gi1, ten numbers apart."""
        told = (f"{name}/{of} {10 * number + at}" for number, name in enumerate(names) for at, of in enumerate(_OPENED))
        self._minors.write_text("".join(f"{line}\n" for line in told))

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_LIBRARY_PATH": str(self._library),
            "FAKE_NVML": str(self._steering),
            "FAKE_MIG_MINORS": str(self._minors),
        }


class Looker:
    """A process that looks at the GPUs of a fake driver (looking.py)."""

    def __init__(self, driver: FakeDriver) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("looking.py")],
            env={**os.environ, **driver.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def look(self, looks: int = 1, seconds: float = 1.0, **more: Any) -> dict[str, Any]:
        """What it finds after so many looks, so many pretended seconds apart."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"looks": looks, "seconds": seconds, **more}), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        assert answer, "the process died"
        return dict(json.loads(answer))

    def close(self) -> str:
        """End it; what it wrote to its journal."""
        return self._process.communicate(timeout=20)[1]


@contextmanager
def looking(driver: FakeDriver) -> Iterator[Looker]:
    looker = Looker(driver)
    try:
        yield looker
    finally:
        looker.close()
