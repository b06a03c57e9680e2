"""What is measured beside a proof of what belongs to the whole node, its disk and its network: by this node's word."""

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from market.errors import MarketError
from market.proof_api import NETWORK_BYTES, NodeSpeeds, ProofNetwork
from provider_agent.attempts.transfer import Transfers

DISK_BYTES = 32 * 2**20
CHUNK = 2**20
AGAIN_SECONDS = 3600.0
"""A node's devices prove themselves together; one of them measures for all."""
TRANSFER_SECONDS_MAX = 20.0
"""A way that takes longer than this one is not measured: below 0.8 MB/s."""

Asked = Callable[[], Awaitable[ProofNetwork]]


class NodeWide:
    """folder: where jobs run. monotonic: seconds of a clock that nobody sets."""

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._monotonic = folder, monotonic
        self._measured_s: float | None = None

    async def measure(self, asked: Asked) -> NodeSpeeds:
        """Disk, then network, if nobody did so lately; what could not be measured is left out."""
        now_s = self._monotonic()
        if self._measured_s is not None and now_s - self._measured_s < AGAIN_SECONDS:
            return NodeSpeeds()
        self._measured_s = now_s
        write, read = await asyncio.to_thread(disk, self._folder)
        up, down = await self._network(asked)
        return NodeSpeeds(disk_write=write, disk_read=read, network_up=up, network_down=down)

    async def _network(self, asked: Asked) -> tuple[int | None, int | None]:
        try:
            probe = await asked()
        except MarketError:
            return None, None
        # No more than was agreed on, whatever the far side says.
        if probe.size_bytes > NETWORK_BYTES:
            return None, None
        return await network(self._folder, probe)


def disk(folder: Path) -> tuple[int | None, int | None]:
    """Bytes a second of a sequential write that reached the disk, and of reading it back; None where it cannot be."""
    path = folder / ".disk-speed"
    chunk = os.urandom(CHUNK)
    try:
        began = time.monotonic()
        with path.open("wb") as file:
            for _ in range(DISK_BYTES // CHUNK):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        wrote = time.monotonic()
        with path.open("rb", buffering=0) as file:
            # The copy in memory is let go of, or it would be that which is read.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            opened = time.monotonic()
            while file.read(CHUNK):
                pass
        ended = time.monotonic()
    except OSError:
        return None, None
    finally:
        path.unlink(missing_ok=True)
    return _rate(DISK_BYTES, wrote - began), _rate(DISK_BYTES, ended - opened)


async def network(folder: Path, probe: ProofNetwork) -> tuple[int | None, int | None]:
    """Bytes a second to storage and back, each on one connection from its beginning: what the way gives at least."""
    sent, fetched = folder / ".network-up", folder / ".network-down"
    data = os.urandom(probe.size_bytes)
    try:
        sent.write_bytes(data)
        async with Transfers() as transfers:
            with sent.open("rb") as file:
                up = await _timed(len(data), transfers.upload(probe.upload_url, file.fileno(), len(data)))
            if up is None:
                return None, None
            sha256 = hashlib.sha256(data).hexdigest()
            fetching = transfers.download(probe.download_url, fetched, sha256=sha256, bytes_max=len(data))
            return up, await _timed(len(data), fetching)
    except OSError:
        return None, None
    finally:
        sent.unlink(missing_ok=True)
        fetched.unlink(missing_ok=True)


async def _timed(size_bytes: int, transfer: Awaitable[None]) -> int | None:
    began = time.monotonic()
    try:
        async with asyncio.timeout(TRANSFER_SECONDS_MAX):
            await transfer
    except (TimeoutError, MarketError):
        return None
    return _rate(size_bytes, time.monotonic() - began)


def _rate(size_bytes: int, seconds: float) -> int:
    return round(size_bytes / max(seconds, 1e-6))
