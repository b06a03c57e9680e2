"""Wrong archives: bytes that are no .tar.gz, and entries that no working directory may have. Each with its refusal's words."""

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Mapping

FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
Entry = tuple[str, bytes, str]


def packed(*entries: Entry, content: bytes = b"x", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A .tar.gz of (name, type, link) entries."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=kind) as tar:
        for name, entry_type, target in entries:
            header = tarfile.TarInfo(name)
            header.type, header.linkname = entry_type, target
            header.size = len(content) if entry_type == FILE else 0
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


def header(name: str, entry_type: bytes, size: int) -> bytes:
    """A .tar.gz that is one header and zeros."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = entry_type, size
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000)


WHOLE = packed(("a", FILE, ""), content=os.urandom(50_000))
PLAIN_TAR = gzip.decompress(packed(("a", FILE, "")))

NO_ARCHIVE: Mapping[str, tuple[bytes, str]] = {
    "nothing": (b"", "cannot be read"),
    "text": (b"run: python train.py\n", "cannot be read"),
    "a zip": (b"PK\x03\x04" + bytes(100), "cannot be read"),
    "a tar without gzip": (PLAIN_TAR, "cannot be read"),
    "gzip without a tar": (gzip.compress(b"no tar" * 100), "cannot be read"),
    "only gzip's magic": (b"\x1f\x8b", "cannot be read"),
    "another compression": (b"\x1f\x8b\x07" + bytes(50), "cannot be read"),
    "bare deflate": (zlib.compress(PLAIN_TAR), "cannot be read"),
    "cut in the middle": (WHOLE[:30_000], "cannot be read"),
    "cut in the header": (WHOLE[:12], "cannot be read"),
    "damaged in the middle": (WHOLE[:20_000] + bytes(100) + WHOLE[20_100:], ""),
    "a header whose sum is wrong": (gzip.compress(b"x" + PLAIN_TAR[1:]), "cannot be read"),
    "something behind its end": (gzip.compress(PLAIN_TAR + b"garbage" * 9), "something follows the end"),
    "something behind its compression": (packed(("a", FILE, "")) + b"garbage" * 9, "cannot be read"),
    "a second archive behind the first": (packed(("a", FILE, "")) * 2, "something follows the end"),
    "zeros without end behind it": (gzip.compress(PLAIN_TAR + bytes(10_000_000)), "something follows the end"),
    "an entry longer than the archive": (gzip.compress(PLAIN_TAR[:512].replace(b"00000000001", b"00000077777") + PLAIN_TAR[512:]), ""),
    "a header as large as memory": (header("x", tarfile.XHDTYPE, 8 * 10**9), "header claims"),
    "a name as large as memory": (header("x", tarfile.GNUTYPE_LONGNAME, 8 * 10**9), "header claims"),
}  # fmt: skip

REACHING_OUT: Mapping[str, tuple[bytes, str]] = {
    "an absolute name": (packed(("/etc/gridbay-attack", FILE, "")), "leaves the working directory"),
    "a name that climbs": (packed(("a/../../outside", FILE, "")), "leaves the working directory"),
    "a name that is only dots": (packed(("..", FOLDER, "")), "leaves the working directory"),
    "a folder that climbs": (packed(("../outside", FOLDER, "")), "leaves the working directory"),
    "an absolute link": (packed(("a", LINK, "/etc")), "leads to an absolute path"),
    "a link that climbs": (packed(("a/b", LINK, "../../outside")), "leads out of the working directory"),
    "a link that climbs and comes back": (packed(("a", LINK, "../work/x")), "leads out of the working directory"),
    "a hard link that climbs": (packed(("a", HARD, "../outside")), "which is no file of the archive"),
    "a hard link to an absolute file": (packed(("a", HARD, "/etc/passwd")), "leads to an absolute path"),
    "a hard link through a link": (packed(("d/x", FILE, ""), ("l", LINK, "d"), ("h", HARD, "l/x")), "which is no file of the archive"),
    "a hard link to a folder": (packed(("d", FOLDER, ""), ("h", HARD, "d")), "which is no file of the archive"),
    "a hard link to nothing": (packed(("h", HARD, "nothing")), "which is no file of the archive"),
    "a file through a link": (packed(("d/x", FILE, ""), ("l", LINK, "d"), ("l/x", FILE, "")), "cannot be unpacked"),
    "a file where a folder is": (packed(("d/x", FILE, ""), ("d", FILE, "")), "cannot be unpacked"),
    "a folder where a file is": (packed(("d", FILE, ""), ("d/x", FILE, "")), "cannot be unpacked"),
    "a device": (packed(("null", tarfile.CHRTYPE, "")), "neither a file, a folder nor a link"),
    "a disk": (packed(("sda", tarfile.BLKTYPE, "")), "neither a file, a folder nor a link"),
    "a pipe": (packed(("pipe", tarfile.FIFOTYPE, "")), "neither a file, a folder nor a link"),
    "a hundred folders deep": (packed(("/".join("d" * 100), FILE, "")), "leaves the working directory"),
    "a name no disk takes": (packed(("n" * 300, FILE, "")), "cannot be unpacked"),
    "a name no disk takes, in no encoding": (packed(("\udcff" * 300, FILE, ""), kind=tarfile.GNU_FORMAT), "cannot be unpacked"),
    "a name that climbs, in no encoding": (packed(("\udcff/../../x", FILE, ""), kind=tarfile.GNU_FORMAT), "leaves the working directory"),
}  # fmt: skip

TOO_LARGE: Mapping[str, tuple[bytes, str]] = {
    "a bomb of zeros": (packed(("zeros", FILE, ""), content=bytes(5_000_000)), "larger than the 1000000 bytes"),
    "a bomb of many": (packed(*((str(n), FILE, "") for n in range(12)), content=bytes(100_000)), "larger than the 1000000 bytes"),
    "a file that claims the disk": (header("x", FILE, 10**12), "larger than the 1000000 bytes"),
    "a sparse file": (header("x", tarfile.GNUTYPE_SPARSE, 10**11), ""),
}  # fmt: skip

TABLE = {"no archive": NO_ARCHIVE, "reaching out": REACHING_OUT, "too large": TOO_LARGE}
