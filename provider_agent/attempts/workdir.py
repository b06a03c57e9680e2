"""A customer's archive unpacked so that nothing of it can land outside its folder or fill the node."""

import copy
import errno
import gzip
import os
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

from market.errors import InvalidInput, TooLarge

ENTRIES_MAX = 200_000
DEPTH_MAX = 64
HEADER_READ_MAX_BYTES = 1024 * 1024
"""tarfile reads an entry's extended header at once and whole: a crafted one would be as large as memory."""
PADDING_MAX_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
NAME_SHOWN_MAX = 120
_ARCHIVES_FAULTS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)
"""What goes wrong on disk because of what the archive says: one name for two things, names no disk takes."""


class BadArchive(InvalidInput):
    """The archive is damaged or reaches out of its folder; the detail names the entry."""

    code = "bad_archive"


def unpack(archive: Path, folder: Path, *, bytes_max: int) -> None:
    """Unpack a .tar.gz into an empty folder. Raises BadArchive, TooLarge.

    Folders and plain files first, while no link exists that could be written through; links last.
    """
    try:
        with gzip.open(archive, "rb") as plain:
            reader = cast("IO[bytes]", _BoundedReads(plain))
            with tarfile.open(fileobj=reader, mode="r:") as tar:
                _unpack_entries(tar, folder, bytes_max)
            _require_end(plain)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, ValueError) as error:
        raise BadArchive(f"the archive cannot be read: {error!s:.200}") from error
    except OSError as error:
        if error.errno not in _ARCHIVES_FAULTS:
            raise
        name = os.path.relpath(error.filename, folder) if isinstance(error.filename, str) else ""
        raise BadArchive(f"{_named(name)} cannot be unpacked: {error.strerror}") from error


def _named(name: str) -> str:
    """As Python writes it, and short: a name may be in no encoding, and what is said goes to the market as JSON."""
    return ascii(name)[:NAME_SHOWN_MAX]


def _require_end(plain: gzip.GzipFile) -> None:
    """Read on to the checksum at the end: there is nothing but padding. Raises BadArchive."""
    left = PADDING_MAX_BYTES
    while piece := plain.read(_PIECE_BYTES):
        left -= len(piece)
        if left < 0 or piece.strip(b"\0"):
            raise BadArchive("something follows the end of the archive")


class _BoundedReads:
    """A file of which nobody reads more than a header's worth at once."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER_READ_MAX_BYTES:
            raise BadArchive(f"an entry's header claims {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _unpack_entries(tar: tarfile.TarFile, folder: Path, bytes_max: int) -> None:
    links: list[tarfile.TarInfo] = []
    room, entries = bytes_max, 0
    # next() rather than iteration, which keeps every entry it saw.
    while (entry := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]
        entries += 1
        if entries > ENTRIES_MAX:
            raise TooLarge(f"the archive has more than {ENTRIES_MAX} entries")
        entry = _checked(entry, folder)
        if entry is None:
            continue
        target = folder / entry.name
        if entry.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif entry.isreg():
            target.parent.mkdir(parents=True, exist_ok=True)
            room -= entry.size
            if room < 0:
                raise TooLarge(f"unpacked, the archive is larger than the {bytes_max} bytes of disk that were leased")
            _write(tar, entry, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            links.append(entry)
    for entry in links:
        _link(entry, folder)


def _checked(entry: tarfile.TarInfo, folder: Path) -> tarfile.TarInfo | None:
    """The entry with a plain relative name; None for the folder itself."""
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    if entry.name.startswith("/") or ".." in parts or "\0" in entry.name or len(parts) > DEPTH_MAX:
        raise BadArchive(f"{_named(entry.name)} leaves the working directory")
    if not parts:
        return None
    if not (entry.isreg() or entry.isdir() or entry.issym() or entry.islnk()):
        raise BadArchive(f"{_named(entry.name)} is neither a file, a folder nor a link")
    if (entry.issym() or entry.islnk()) and entry.linkname.startswith("/"):
        raise BadArchive(f"the link {_named(entry.name)} leads to an absolute path")
    # tarfile's own filters would say less, and Debian's 3.11 does not have them. Modes and owners are never taken over.
    plain = copy.copy(entry)
    plain.name = "/".join(parts)
    return plain


def _write(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(entry)
    assert source is not None, "a regular entry has content"
    mode = 0o755 if (entry.mode or 0) & 0o100 else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, mode), "wb") as file:
        left = entry.size
        while left > 0:
            piece = source.read(min(left, _PIECE_BYTES))
            if not piece:
                raise BadArchive(f"the archive ends within {_named(entry.name)}")
            file.write(piece)
            left -= len(piece)


def _link(entry: tarfile.TarInfo, folder: Path) -> None:
    target = folder / entry.name
    if entry.issym():
        depth = entry.name.count("/")
        for part in entry.linkname.split("/"):
            depth += -1 if part == ".." else 0 if part in ("", ".") else 1
            if depth < 0:
                raise BadArchive(f"the link {_named(entry.name)} leads out of the working directory")
        _replace_file(target)
        target.symlink_to(entry.linkname)
        return
    source = folder / os.path.normpath(entry.linkname)
    if not _is_plain_file(folder, source):
        raise BadArchive(
            f"the link {_named(entry.name)} is to {_named(entry.linkname)}, which is no file of the archive"
        )
    _replace_file(target)
    os.link(source, target, follow_symlinks=False)


def _is_plain_file(folder: Path, path: Path) -> bool:
    """Whether it lies below the folder and no part of the way is a symbolic link."""
    try:
        inside = path.relative_to(folder)
    except ValueError:
        return False
    if ".." in inside.parts or not inside.parts:
        return False
    way = [folder.joinpath(*inside.parts[: count + 1]) for count in range(len(inside.parts))]
    return not any(step.is_symlink() for step in way) and path.is_file()


def _replace_file(target: Path) -> None:
    """A later entry of the same name wins, as with tar; a folder stays, and the link is refused."""
    if target.is_symlink() or target.is_file():
        target.unlink()
