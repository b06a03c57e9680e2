"""Small files written so that a kill at any moment leaves the old content or the new, and only the agent reads them."""

import os
from pathlib import Path

PRIVATE = 0o600


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE, durable: bool = True) -> None:
    """The file is replaced at once by one with that content and mode.

    Durable, it survives a power cut when this returns, and waits for the disk; otherwise the kill of any process.
    """
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names made, renamed or removed in the folder survive a power cut when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
