"""The working directory of a job: packed the same way every time, so that equal folders are sent once.

Excluded is what .gridbayignore names (the syntax of .gitignore) and what nobody wants to send: ALWAYS_IGNORED (a line
like `!node_modules/` in .gridbayignore takes it back) and virtual environments of Python, which cannot be moved.
"""

import contextlib
import gzip
import hashlib
import os
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import httpx
from pathspec import GitIgnoreSpec

from gridbay.client.patience import Patience
from gridbay.client.refusals import storage_refusal
from gridbay.client.transport import storage_client
from market.customer_api import WORKDIR_MAX_BYTES
from market.errors import InvalidInput, MarketError, TooLarge, Unavailable

IGNORE_FILE = ".gridbayignore"
ALWAYS_IGNORED = (".git/", "__pycache__/", "*.pyc", "node_modules/")
VIRTUAL_ENVIRONMENT_MARK = "pyvenv.cfg"
FILES_MAX = 50_000
LARGEST_SHOWN = 3
_COMPRESSION_LEVEL = 6
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Archive:
    """A packed folder in a temporary file, gone with the `with` block that packed it. content_bytes: unpacked."""

    file: IO[bytes]
    sha256: str
    size_bytes: int
    file_count: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """name: its path inside the archive; link: where a symbolic link leads, as a path relative to it."""

    path: Path
    name: str
    mode: int
    size_bytes: int
    link: str | None = None


@contextlib.contextmanager
def pack(folder: Path, *, max_bytes: int = WORKDIR_MAX_BYTES) -> Iterator[Archive]:
    """The folder as a .tar.gz: sorted, without times and owners.

    Raises InvalidInput for a link that leads out of the folder and for what is neither file nor folder, TooLarge when
    the archive has more than max_bytes.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise InvalidInput(f"workdir: {folder} is not a folder", remedy="name a folder that exists")
    entries = sorted(_entries(root), key=lambda entry: entry.name)
    if len(entries) > FILES_MAX:
        raise TooLarge(
            f"workdir: {folder} has {len(entries)} files, {FILES_MAX} at most", remedy=_ignore_remedy(entries)
        )
    with tempfile.TemporaryFile(prefix="gridbay-workdir-") as file:
        _write(file, entries, max_bytes, folder)
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        files = [entry for entry in entries if stat.S_ISREG(entry.mode)]
        yield Archive(file, digest, size, len(files), sum(entry.size_bytes for entry in files))


def put_archive(archive: Archive, url: str, patience: Patience) -> None:
    """PUT an archive to its signed URL, again after a broken connection."""
    with storage_client(url) as client:
        while True:
            archive.file.seek(0)
            headers = {"Content-Length": str(archive.size_bytes), "Content-Type": "application/gzip"}
            try:
                response = client.put(url, content=_pieces(archive.file), headers=headers)
            except httpx.TransportError as error:
                failure: MarketError = Unavailable(f"the workdir could not be sent: {error or type(error).__name__}")
            else:
                if response.is_success:
                    return
                failure = storage_refusal(response)
                if response.status_code < 500:
                    raise failure
            if not patience.wait(failure.detail):
                raise failure


def _entries(root: Path) -> Iterator[_Entry]:
    """Everything to send, in no order. Folders only where they are empty: elsewhere their content names them."""
    rules = _ignore_rules(root)
    for place, folders, files in os.walk(root, onerror=_unreadable):
        here = Path(place)
        relative = here.relative_to(root)
        if relative.parts and not folders and not files:
            yield _Entry(here, relative.as_posix(), stat.S_IFDIR | 0o755, 0)
        links = [name for name in folders if (here / name).is_symlink()]
        # As in git, nothing below a folder that is left out can be taken back.
        folders[:] = [name for name in folders if name not in links and _is_wanted(here / name, relative / name, rules)]
        for name in files + links:
            inner = (relative / name).as_posix()
            if not rules.match_file(inner):
                yield _entry(root, here / name, inner)


def _is_wanted(folder: Path, relative: Path, rules: GitIgnoreSpec) -> bool:
    return not rules.match_file(f"{relative.as_posix()}/") and not (folder / VIRTUAL_ENVIRONMENT_MARK).is_file()


def _unreadable(error: OSError) -> None:
    raise InvalidInput(
        f"workdir: {error.filename} cannot be read: {error.strerror}", remedy=f"name it in {IGNORE_FILE}"
    )


def _entry(root: Path, path: Path, name: str) -> _Entry:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        target = _target(path, name)
        if not target.is_relative_to(root):
            raise InvalidInput(
                f"workdir: {name} is a link that leads to {target}, outside of the folder",
                remedy=f"copy what it points to into the folder, or name it in {IGNORE_FILE}",
            )
        # Resolved, because a link through a chain of links may leave the folder elsewhere.
        return _Entry(path, name, stat.S_IFLNK | 0o777, 0, os.path.relpath(target, path.parent.resolve()))
    if not stat.S_ISREG(facts.st_mode):
        raise InvalidInput(
            f"workdir: {name} is neither a file nor a folder", remedy=f"remove it, or name it in {IGNORE_FILE}"
        )
    executable = 0o111 if facts.st_mode & 0o100 else 0
    return _Entry(path, name, stat.S_IFREG | 0o644 | executable, facts.st_size)


def _target(path: Path, name: str) -> Path:
    try:
        return path.resolve()
    except (RuntimeError, OSError):
        # Python 3.11 raises RuntimeError for links in a circle, later ones OSError or nothing at all.
        raise InvalidInput(
            f"workdir: {name} is a link that leads to itself", remedy=f"remove it, or name it in {IGNORE_FILE}"
        ) from None


def _ignore_rules(root: Path) -> GitIgnoreSpec:
    lines = list(ALWAYS_IGNORED)
    path = root / IGNORE_FILE
    if path.is_file():
        try:
            lines += path.read_text().splitlines()
        except UnicodeDecodeError:
            raise InvalidInput(f"workdir: {path} is not text in UTF-8") from None
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise InvalidInput(f"workdir: {path}: {error}", remedy="write it like a .gitignore") from None


class _Bounded:
    """A file for gzip to write to, which refuses once to grow beyond its limit.

    What closing writes after that is dropped: a second refusal would only hide the first.
    """

    def __init__(self, file: IO[bytes], refuse: TooLarge, max_bytes: int) -> None:
        self._file, self._refuse, self._left = file, refuse, max_bytes

    def write(self, data: bytes) -> int:
        refused = self._left < 0
        self._left -= len(data)
        if self._left < 0:
            if not refused:
                raise self._refuse
            return len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _write(file: IO[bytes], entries: list[_Entry], max_bytes: int, folder: Path) -> None:
    refuse = TooLarge(
        f"workdir: {folder} has more than {max_bytes / 2**20:g} MiB when packed", remedy=_ignore_remedy(entries)
    )
    bounded = cast(IO[bytes], _Bounded(file, refuse, max_bytes))
    # gzip's header would hold a time and a name.
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=_COMPRESSION_LEVEL, fileobj=bounded, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in entries:
            _add(archive, entry)


def _add(archive: tarfile.TarFile, entry: _Entry) -> None:
    header = tarfile.TarInfo(entry.name)
    header.mode, header.mtime = stat.S_IMODE(entry.mode), 0
    if entry.link is not None:
        header.type, header.linkname = tarfile.SYMTYPE, entry.link
        archive.addfile(header)
    elif stat.S_ISDIR(entry.mode):
        header.type = tarfile.DIRTYPE
        archive.addfile(header)
    else:
        header.size = entry.size_bytes
        try:
            with entry.path.open("rb") as source:
                archive.addfile(header, source)
        except OSError as error:
            why = error.strerror or "it became shorter while it was read"
            raise InvalidInput(f"workdir: {entry.name} cannot be read: {why}") from None


def _ignore_remedy(entries: list[_Entry]) -> str:
    largest = sorted(entries, key=lambda entry: -entry.size_bytes)[:LARGEST_SHOWN]
    named = ", ".join(f"{entry.name} ({entry.size_bytes / 10**6:.1f} MB)" for entry in largest)
    return f"name what the job does not need in {IGNORE_FILE}; the largest are {named}"


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
