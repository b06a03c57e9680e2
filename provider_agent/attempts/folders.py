"""Removing folders in which a customer's command could do as it liked: any depth, any modes, links never followed."""

import asyncio
import os
import stat
from contextlib import suppress
from itertools import islice
from pathlib import Path

REMOVE_SECONDS_MAX = 300.0
FLAT_FILES_MAX = 32
FLAT_BYTES_MAX = 4 * 1024 * 1024
"""A folder of few and small files is removed at once; starting rm for it would take longer than all the rest."""


async def remove_tree(folder: Path) -> bool:
    """Whether the folder is gone. rm walks any depth with few descriptors, which Python's rmtree does not."""
    if _remove_flat(folder) or await _run("rm", "-rf", "--one-file-system", "--", str(folder)):
        return True
    # As a plain user, folders without their owner's rights can only be entered after a chmod (it follows no link).
    await _run("chmod", "-R", "u+rwX", "--", str(folder))
    return await _run("rm", "-rf", "--one-file-system", "--", str(folder))


def _remove_flat(folder: Path) -> bool:
    """Whether it is gone: not if there is anything in it but few and small plain files."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        with os.scandir(descriptor) as entries:
            names = [entry.name for entry in islice(entries, FLAT_FILES_MAX + 1)]
        states = [os.stat(name, dir_fd=descriptor, follow_symlinks=False) for name in names]
        plain = all(stat.S_ISREG(state.st_mode) for state in states)
        if len(names) > FLAT_FILES_MAX or not plain or sum(state.st_size for state in states) > FLAT_BYTES_MAX:
            return False
        for name in names:
            os.unlink(name, dir_fd=descriptor)
        folder.rmdir()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


async def _run(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        return await asyncio.wait_for(process.wait(), REMOVE_SECONDS_MAX) == 0
    except (TimeoutError, asyncio.CancelledError) as error:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(error, asyncio.CancelledError):
            raise
        return False
