"""Owns how the agent reads what a customer's command left behind: never through a link, a pipe or a device.

The command owns everything in its workdir and may change it while it runs, so a path is opened step by step from the
workdir's own descriptor, and what was opened is looked at, not the name.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

DEPTH_MAX = 64


class UnsafePath(Exception):
    """The name leads out of the workdir, or to something that is no regular file."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A regular file below the workdir. name: relative, with forward slashes."""

    name: str
    size_bytes: int


def open_beneath(workdir: Path, name: str) -> BinaryIO:
    """Open a regular file below the workdir for reading; FileNotFoundError when there is none of that name."""
    *folders, last = _steps(name)
    folder = _open_folder(workdir, folders, name)
    try:
        # Without O_NONBLOCK a named pipe would hold the agent until somebody writes into it.
        descriptor = _open(last, os.O_NONBLOCK, folder, name)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePath(f"{name!r} is no regular file")
    return os.fdopen(descriptor, "rb")


def list_beneath(workdir: Path, name: str, *, files_max: int) -> list[OutputFile]:
    """The regular files at or below a name ("." is all), sorted; links and special files are left out.

    FileNotFoundError when nothing has that name, UnsafePath for a way out or more than files_max files.
    """
    steps = [] if name in ("", ".") else _steps(name)
    if steps:
        try:
            with open_beneath(workdir, name) as file:
                return [OutputFile("/".join(steps), os.fstat(file.fileno()).st_size)]
        except UnsafePath:
            pass  # a folder, or what opening it as one refuses
    folder = _open_folder(workdir, steps, name)
    found: list[OutputFile] = []
    try:
        for at, _, files, descriptor in os.fwalk(".", follow_symlinks=False, dir_fd=folder):
            for file_name in files:
                status = os.stat(file_name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append(OutputFile(PurePosixPath(*steps, at, file_name).as_posix(), status.st_size))
                if len(found) > files_max:
                    raise UnsafePath(f"{name!r} holds more than {files_max} files; pack them, or name fewer")
    finally:
        os.close(folder)
    return sorted(found, key=lambda file: file.name)


def hand_over(workdir: Path, uid: int) -> None:
    """Give a fresh workdir and all in it to the attempt's own user, before anything of that user runs."""
    os.chown(workdir, uid, uid, follow_symlinks=False)
    for _, folders, files, descriptor in os.fwalk(workdir, follow_symlinks=False):
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)


def _steps(name: str) -> list[str]:
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if name.startswith("/") or ".." in steps or not steps or len(steps) > DEPTH_MAX or "\0" in name:
        raise UnsafePath(f"{name!r} does not stay below the workdir")
    return steps


def _open_folder(workdir: Path, steps: list[str], name: str) -> int:
    folder = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for step in steps:
        try:
            below = _open(step, os.O_DIRECTORY, folder, name)
        finally:
            os.close(folder)
        folder = below
    return folder


def _open(step: str, flags: int, folder: int, name: str) -> int:
    try:
        return os.open(step, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        # ELOOP: a link; ENOTDIR: a file or a link on the way; ENXIO: a socket; EACCES: closed to the agent itself.
        raise UnsafePath(f"{name!r}: {step!r} cannot be opened as what it is ({error.strerror})") from None
