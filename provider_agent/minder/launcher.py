"""Owns the start of a minder: detached from whoever calls, with nothing of the caller's environment.

Standard library only: Ray's worker imports this and little else.
"""

import os
import select
import subprocess
import sys
from pathlib import Path

from provider_agent.minder import layout

START_SECONDS_MAX = 20.0
PROCESS = Path(layout.__file__).with_name("process.py")
# Ray's workers hold the pool's token in their environment; nothing of it reaches a minder.
CLEAN_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class LaunchFailed(Exception):
    """The minder did not come to life; the attempt was not started, or its command never ran."""


class AlreadyStarted(LaunchFailed):
    """The attempt has or had a minder: it is adopted, never started twice."""


def launch(attempt_dir: Path) -> None:
    """Start the minder of an ordered attempt and return once it lives (about 25 ms)."""
    errors_path = attempt_dir / layout.ERRORS
    try:
        errors = errors_path.open("ab")
    except OSError as error:
        raise LaunchFailed(f"{attempt_dir}: {error}") from None
    with errors:
        starting = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROCESS), str(attempt_dir.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=CLEAN_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    _await_end(starting)
    if starting.poll() is None:
        starting.kill()
        starting.wait()
        raise LaunchFailed(f"the minder of {attempt_dir} was not alive after {START_SECONDS_MAX:.0f} s")
    status = starting.returncode
    if status == layout.ALREADY_STARTED:
        raise AlreadyStarted(f"{attempt_dir} was started before")
    if status != 0:
        words = errors_path.read_text(errors="replace")[-2000:].strip()
        raise LaunchFailed(f"the minder of {attempt_dir} ended with status {status}: {words}")


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait with a bound and without the naps of up to 50 ms that Popen.wait takes when it has one."""
    descriptor = os.pidfd_open(process.pid)
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll(START_SECONDS_MAX * 1000)
    finally:
        os.close(descriptor)
