"""Waiting for a server process that a test has started, with a bound."""

import subprocess
import time

import httpx

START_SECONDS = 60.0
ANSWER_SECONDS = 5.0
LOOK_SECONDS = 0.05


def until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    """Return once the URL answers well; AssertionError when the process ends first or the time is up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(url, timeout=ANSWER_SECONDS).is_success:
                return
        except httpx.TransportError:
            time.sleep(LOOK_SECONDS)
    raise AssertionError("the server did not answer in time")
