"""What every probe is made of: a registry, raw system calls, and few words for what was got or denied."""

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROBES: dict[str, Callable[[dict[str, Any]], object]] = {}
_libc = ctypes.CDLL(None, use_errno=True)
_IS_X86 = platform.machine() == "x86_64"


def probe(way_out: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    PROBES[way_out.__name__] = way_out
    return way_out


def call(x86_64: int, aarch64: int, *arguments: object) -> int:
    """A raw system call; a failure raises."""
    result = _libc.syscall(ctypes.c_long(x86_64 if _IS_X86 else aarch64), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def read(path: str) -> str:
    return Path(path).read_bytes()[:80].decode(errors="replace")


def write(path: str) -> str:
    """Open to write, a new file too; nothing is written."""
    return opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def opened(path: str, flags: int) -> str:
    os.close(os.open(path, flags))
    return f"opened {path}"


def containing(paths: Any, secret: str) -> str:
    """The first readable file that holds the secret; nothing found is a denial."""
    for path in paths:
        try:
            if secret.encode() in Path(path).read_bytes():
                return f"secret in {path}"
        except OSError:
            continue
    raise LookupError("the secret is nowhere")


def denied(why: str) -> object:
    """For a probe that found nothing."""
    raise PermissionError(why)
