"""Owns the log of an attempt: one append-only file of bounded size that ends with the last words of the command."""

import os

from provider_agent.minder import layout

TAIL_BYTES = 16 * 1024  # of what did not fit, the end is kept: the reason of a failure stands there
READ_BYTES = 64 * 1024  # as much as a pipe holds
READS_PER_TURN = 8  # so that a flood of output never keeps the minder from its deadline


class LogSpool:
    """Moves what comes through a pipe into the file; past the bound it reads on and keeps only the tail."""

    def __init__(self, folder: int, bytes_max: int) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reader, False)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(layout.LOG, flags, 0o600, dir_fd=folder)
        self._room = bytes_max
        self._tail = b""
        self.dropped = 0
        self.size = 0

    def close_writer(self) -> None:
        os.close(self.writer)

    def pump(self) -> bool:
        """Move what is there, a bounded amount at a time; False once every writer is gone."""
        for _ in range(READS_PER_TURN):
            try:
                chunk = os.read(self.reader, READ_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._keep(chunk)
        return True

    def finish(self) -> None:
        """Say what was dropped, add the tail, and make what there is survive a power cut."""
        if self.dropped:
            lost = self.dropped - len(self._tail)
            words = f"\n[gridbay: the log is full; {lost} bytes are left out here, the last {len(self._tail)} follow]\n"
            self._append(words.encode() + self._tail)
        if not self.size:
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            # A disk that cannot keep the log must not keep the outcome from being told.
            os.write(2, f"the log may not survive a power cut: {error}\n".encode())

    def close(self) -> None:
        """For those who live on after the log; a minder does not."""
        os.close(self.reader)
        os.close(self._file)

    def _keep(self, chunk: bytes) -> None:
        if not self.dropped:
            written = self._append(chunk[: self._room])
            self._room -= written
            chunk = chunk[written:]
        if chunk:
            self.dropped += len(chunk)
            self._tail = (self._tail + chunk)[-TAIL_BYTES:]

    def _append(self, data: bytes) -> int:
        """How much of it the disk took: a full disk is a full log, not the end of the job."""
        written = 0
        while written < len(data):
            try:
                written += os.write(self._file, data[written:])
            except OSError:
                break
        self.size += written
        return written
