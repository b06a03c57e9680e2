"""What is measured beside a proof: facts for offers, by this node's own word."""

import os
import time
from pathlib import Path

DISK_BYTES = 32 * 2**20
CHUNK = 2**20


def disk_write(folder: Path) -> int | None:
    """Bytes a second of a sequential write that reached the disk, in that folder; None where it cannot be tried."""
    path = folder / ".disk-speed"
    chunk = os.urandom(CHUNK)
    try:
        began = time.monotonic()
        with path.open("wb") as file:
            for _ in range(DISK_BYTES // CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        seconds = time.monotonic() - began
    except OSError:
        return None
    finally:
        path.unlink(missing_ok=True)
    return round(DISK_BYTES / max(seconds, 1e-6))
