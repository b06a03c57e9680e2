"""Owns the names and small habits of an attempt folder which the minder and the agent share.

Standard library only and no pathlib (4 ms): the minder imports this in its first milliseconds.
"""

import fcntl
import os
import time
from functools import cache

ORDER = "order.json"  # what to run and within which bounds; written once by the agent
ENVIRONMENT = "environment.json"  # what is secret of it; the minder removes it once read
DEADLINE = "deadline"  # the agent rewrites it at each renewal
STOP = "stop.json"  # asks for an end with grace
STARTED = "started"  # there may be one only: an attempt is run once, whatever happens
LOCK = "minder.lock"  # its record locks say who is alive, its content what the minder itself complains about
LOG = "output.log"  # what the command wrote to stdout and stderr, append-only
USAGE = "usage.json"  # cumulative counters
OUTCOME = "outcome.json"  # how it ended; present only when nothing of the attempt runs any more
OUTCOME_ROOM = ".outcome.json.room"
OUTCOME_BYTES = 8192  # taken on disk before the command starts

# Bytes of LOCK: the starting process holds the first, the minder the second, so that no moment is unheld.
LOCK_STARTING = 0
LOCK_ALIVE = 1

_ABOVE_ALL = 200
FILE_MAX_BYTES = 4 * 1024 * 1024
READ_BYTES = 32 * 1024
PATH_MAX_BYTES = 4096
# What a start says, one byte: the minder lives, or a status of the process that should have started it.
ALIVE = b"+"
ALREADY_STARTED = 3  # another start came before


def above_all(descriptor: int) -> int:
    """The same open file at a number above every descriptor that a command is given, closed on exec."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE_ALL)
    os.close(descriptor)
    return moved


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: counts through suspend, and nobody can set it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """Names this boot, for a CLOCK_BOOTTIME of another one means nothing; no process sees two."""
    return read_all(os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)).decode().strip()


def deadline_text(deadline_boottime_ns: int) -> str:
    return f"{deadline_boottime_ns} {boot_id()}\n"


def parse_deadline(text: str) -> int | None:
    """The deadline in CLOCK_BOOTTIME nanoseconds; None when it is garbled or of another boot."""
    fields = text.split()
    if len(fields) != 2 or not fields[0].isascii() or not fields[0].isdigit() or len(fields[0]) > 19:
        return None
    return int(fields[0]) if fields[1] == boot_id() else None


def read_file(folder: int, name: str) -> bytes | None:
    """A file of the attempt folder (an open descriptor of it), None when it is not there."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        return None
    return read_all(descriptor)


def read_all(descriptor: int) -> bytes:
    """What an open file holds, up to the bound, and close it; a file object would take a buffer of the bound's size."""
    content = b""
    try:
        while len(content) < FILE_MAX_BYTES and (chunk := os.read(descriptor, READ_BYTES)):
            content += chunk
    finally:
        os.close(descriptor)
    return content[:FILE_MAX_BYTES]


def replace_file(folder: int, name: str, content: bytes, *, durable: bool) -> None:
    """The file is replaced at once: a reader sees the old content or the new, also after a kill."""
    fresh = f".{name}.minder"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    if durable:
        os.fsync(folder)


def reserve_outcome(folder: int) -> None:
    """Take the outcome's room on disk before there is one: a disk the job fills must not hide how it ended."""
    descriptor = os.open(OUTCOME_ROOM, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.posix_fallocate(descriptor, 0, OUTCOME_BYTES)
    finally:
        os.close(descriptor)


def reveal_outcome(folder: int, content: bytes) -> None:
    """Write the outcome into its room, make it last, then give it its name: readers see all of it or none."""
    descriptor = os.open(OUTCOME_ROOM, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        os.write(descriptor, content.ljust(OUTCOME_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(OUTCOME_ROOM, OUTCOME, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
