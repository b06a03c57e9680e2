"""On real connections to a real server: nothing that is sent brings a 5xx, a traceback, or the server down."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from answering import until_it_answers
from http_cases import TABLE

from infra.embedded.ports import free_port

ANSWER_SECONDS = 5.0


@pytest.fixture
def served(variables: dict[str, str], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """(port, the file of what the process wrote), once it answers."""
    port, said = free_port(), tmp_path / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from gridbay.processes.api import main; main()"],
            env=os.environ | {"GRIDBAY_BIND": f"127.0.0.1:{port}"},
            stdout=file,
            stderr=file,
        )
    try:
        until_it_answers(process, f"http://127.0.0.1:{port}/health")
        yield port, said
    finally:
        process.kill()
        process.wait(10)


def test_no_bytes_bring_it_down(served: tuple[int, Path]) -> None:
    port, said = served
    answers = {name: _answer(port, sent) for name, sent in TABLE.items()}
    wrong = {name: answer[:200] for name, answer in answers.items() if answer and not _refused_or_fine(answer)}
    assert wrong == {}
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=ANSWER_SECONDS).status_code == 200
    written = said.read_text(errors="replace")
    assert "Traceback" not in written, written[:2000]


def _answer(port: int, sent: bytes) -> bytes:
    """What came back until the connection closed, or went quiet."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection:
        received = b""
        try:
            connection.sendall(sent)
            # Nothing more is said: a server that waits for the rest hears that there is none.
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except OSError:
            pass
        return received


def _refused_or_fine(answer: bytes) -> bool:
    """An unknown upgrade may be answered as the plain request it also is; of an encoding that nobody knows RFC 9112
    (6.1) says 501.
    """
    return answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 501"))
