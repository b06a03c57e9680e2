"""The files a customer asked to keep: found by pattern below the working directory, hashed, uploaded; never links."""

import asyncio
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from market.agent_api import OUTPUT_FILES_MAX, OUTPUTS_MAX_BYTES, OutputFile
from provider_agent.attempts.transfer import PIECE_BYTES, Transfers
from provider_agent.conversation import Conversation, Refused, Unreachable
from provider_agent.sandbox.outputs import UnsafePath, open_beneath

ENTRIES_MAX = 500_000
DEPTH_MAX = 64
PATH_MAX_BYTES = 500
UPLOADS_AT_ONCE = 4
ROUNDS_MAX = 20


@dataclass(frozen=True, slots=True)
class Faults:
    """What to tell the customer. broken: files that are there and could not be kept; missing: patterns of no file."""

    broken: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found."""

    files: list[OutputFile] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)


def collect(workdir: Path, patterns: Sequence[str]) -> Collected:
    """Every plain file that a pattern names. Blocking: hashing reads each file once.

    `*` and `?` stay within one name, `**` crosses folders, and a folder's name means everything in it.
    """
    matchers = [(pattern, _compile(pattern)) for pattern in patterns]
    unmatched = {pattern for pattern, _ in matchers}
    collected = Collected()
    total = 0
    for path in _plain_files(workdir) if matchers else ():
        hits = {pattern for pattern, matcher in matchers if matcher.match(path)}
        if not hits:
            continue
        unmatched -= hits
        if (fault := _name_fault(path)) is not None:
            collected.faults.broken.append(fault)
            continue
        if len(collected.files) == OUTPUT_FILES_MAX:
            collected.faults.broken.append(f"more than {OUTPUT_FILES_MAX} files match; put them into one archive")
            break
        try:
            size, digest = _digest(workdir, path)
        except (OSError, UnsafePath) as error:
            collected.faults.broken.append(f"{path}: {error}")
            continue
        total += size
        if total > OUTPUTS_MAX_BYTES:
            collected.faults.broken.append(f"the outputs are larger than {OUTPUTS_MAX_BYTES} bytes in all")
            break
        collected.files.append(OutputFile(path=path, size_bytes=size, sha256=digest))
    collected.faults.missing.extend(f"no file matches {pattern}" for pattern, _ in matchers if pattern in unmatched)
    return collected


async def deliver(
    conversation: Conversation, transfers: Transfers, attempt_id: str, workdir: Path, files: list[OutputFile]
) -> None:
    """Upload what storage lacks until it lacks nothing. Raises Unreachable, Refused, OSError, UnsafePath."""
    sizes = {file.path: file.size_bytes for file in files}
    gate = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def upload(path: str, url: str) -> None:
        async with gate:
            with open_beneath(workdir, path) as file:
                await transfers.upload(url, file.fileno(), sizes[path])

    refusal: BaseException | None = None
    for _ in range(ROUNDS_MAX):
        answer = await conversation.declare_outputs(attempt_id, files)
        wanted = [item for item in answer.uploads if item.path in sizes]
        if not wanted:
            return
        results = await asyncio.gather(*(upload(item.path, item.url) for item in wanted), return_exceptions=True)
        failures = [result for result in results if result is not None]
        # A refused URL may just have expired: the next round brings fresh ones.
        refusal = next((failure for failure in failures if isinstance(failure, Refused)), None)
        for failure in failures:
            if not isinstance(failure, Refused):
                raise failure
    raise refusal or Unreachable(f"after {ROUNDS_MAX} rounds the portal still asks for files that were uploaded")


def _name_fault(path: str) -> str | None:
    """Why a file of that name cannot be kept under it."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "a file whose name is not UTF-8 was left out"
    if "\\" in path:
        return f"{path[:80]}: a name with a backslash is not taken"
    return f"{path[:80]}...: a path may have {PATH_MAX_BYTES} bytes" if size > PATH_MAX_BYTES else None


def _digest(workdir: Path, path: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with open_beneath(workdir, path) as file:
        while piece := os.pread(file.fileno(), PIECE_BYTES, size):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def _plain_files(workdir: Path) -> Iterator[str]:
    """Relative paths in a stable order, links and special files left out. Bounded."""
    entries = 0
    for folder, folders, names, _ in os.fwalk(workdir, follow_symlinks=False):
        inside = os.path.relpath(folder, workdir)
        prefix = "" if inside == "." else f"{inside}/"
        folders.sort()
        if prefix.count("/") >= DEPTH_MAX:
            folders.clear()
        for name in sorted(names):
            entries += 1
            if entries > ENTRIES_MAX:
                return
            if stat.S_ISREG(os.lstat(Path(folder, name)).st_mode):
                yield prefix + name


def _compile(pattern: str) -> re.Pattern[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    expression = ""
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if part == "**":
            expression += ".*" if last else "(?:[^/]+/)*"
            continue
        expression += "".join(_piece(piece) for piece in re.findall(r"\[[^]/]+\]|.", part, re.DOTALL))
        expression += "" if last else "/"
    # What lies below a folder that is named belongs to it.
    return re.compile(f"{expression}(?:/.*)?\\Z", re.DOTALL)


def _piece(piece: str) -> str:
    if piece == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if len(piece) > 2 and piece[0] == "[":
        inside = piece[1:-1].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
        return f"[^{inside[1:]}]" if inside[0] == "!" and len(inside) > 1 else f"[{inside}]"
    return re.escape(piece)
