"""Asks a server on loopback one question to learn whether it serves yet."""

import asyncio
import socket
from dataclasses import dataclass

from infra.embedded.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Probe:
    """A question, and how the answer of a server that is ready begins."""

    port: int
    question: bytes
    answer: bytes

    def ask(self, timeout: float = 0.5) -> bool:
        """One question; False also when nobody listens or the answer takes longer than `timeout` seconds."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=timeout) as connection:
                connection.sendall(self.question)
                with connection.makefile("rb") as answers:
                    return answers.read(len(self.answer)) == self.answer
        except OSError:
            return False

    async def ask_async(self, timeout: float = 0.5) -> bool:  # noqa: ASYNC109 (the same signature as `ask`)
        """The same without blocking the event loop."""
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
                try:
                    writer.write(self.question)
                    return await reader.readexactly(len(self.answer)) == self.answer
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False


def http_probe(port: int, path: str) -> Probe:
    """Ready when GET of the path is answered with 200."""
    question = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n"
    return Probe(port, question.encode("ascii"), b"HTTP/1.1 200")
