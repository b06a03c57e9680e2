"""The log file of one child: bounded in size, and its end at hand for when the child dies."""

from collections import deque
from contextlib import suppress
from pathlib import Path

FILE_BYTES_MAX = 4 * 1024 * 1024
TAIL_LINES = 20
TAIL_LINE_BYTES_MAX = 500


class ChildLog:
    """Takes what a child prints. At most two files of 4 MiB are kept: NAME.log and the one before, NAME.log.1."""

    def __init__(self, path: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
        self.path, self._bytes_max = path, bytes_max
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._open_line = b""

    def write(self, data: bytes) -> None:
        """A full disk loses lines of the log, never the market."""
        *ended, rest = (self._open_line + data).split(b"\n")
        self._lines.extend(line[:TAIL_LINE_BYTES_MAX] for line in ended[-TAIL_LINES:])
        self._open_line = rest[:TAIL_LINE_BYTES_MAX]
        with suppress(OSError):
            if self._size + len(data) > self._bytes_max:
                self._turn_over()
            self._size += self._file.write(data)

    def begin(self) -> None:
        """A new process begins: the end of the log is its own from here."""
        self._lines.clear()
        self._open_line = b""

    def tail(self) -> list[str]:
        """The last lines that the present process printed."""
        lines = [*self._lines, self._open_line] if self._open_line else list(self._lines)
        return [line.decode(errors="replace").rstrip() for line in lines[-TAIL_LINES:]]

    def close(self) -> None:
        self._file.close()

    def _turn_over(self) -> None:
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        fresh = self.path.open("ab", buffering=0)
        self._file.close()
        self._file, self._size = fresh, 0
