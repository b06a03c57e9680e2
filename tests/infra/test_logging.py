"""Log lines are JSON with the context of the work at hand, and never open anything."""

import json
import subprocess
import sys
from typing import Any

BEGIN = """
import logging, structlog
from structlog.contextvars import bound_contextvars
from infra.logging import configure_logging, current_trace
configure_logging("api")
log = structlog.get_logger("there")
"""
TOKEN = "gbc_" + "A" * 40
OPENS = (TOKEN, "hunter2secret", "0123456789abcdef", "AKIASIGNED")


def logged(script: str) -> tuple[str, list[dict[str, Any]]]:
    """What a process of its own writes: as text, and its lines."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True, check=True)
    return done.stderr, [json.loads(line) for line in done.stderr.splitlines()]


def test_a_line_names_its_process_request_and_job() -> None:
    _, lines = logged(
        """
with bound_contextvars(trace="req_1", job_id="job_1", message_id=None):
    assert current_trace() == "req_1"
    log.info("placed", node="n")
    logging.getLogger("elsewhere").warning("a library speaks")
"""
    )
    assert len(lines) == 2
    for line in lines:
        assert (line["process"], line["trace"], line["job_id"]) == ("api", "req_1", "job_1")
        assert "message_id" not in line and line["timestamp"].endswith("Z")


def test_a_line_below_the_level_asks_for_nothing() -> None:
    _, lines = logged(
        """
structlog.get_config()["processors"].insert(0, lambda *line: structlog.get_logger("told").info("asked") or line[2])
log.debug("nobody hears it")
"""
    )
    assert lines == []


def test_what_opens_something_is_withheld_wherever_it_stands() -> None:
    written, lines = logged(
        f"token, password, signature, signed = {OPENS!r}\n"
        + """
log.info("sent", headers={"authorization": f"Bearer {token}"}, note=f"used {token} twice")
log.info("dialled", url=f"postgresql://gridbay:{password}@127.0.0.1:5432/x", kept="http://127.0.0.1:8080/health?a=1")
log.info("fetched", url=f"https://s3/x?X-Amz-Signature={signed}&b=2", other=f"/f?expires=1&signature={signature}")
log.info("given", secret=password)
try:
    raise ValueError(f"cannot reach redis://:{password}@127.0.0.1")
except ValueError:
    log.exception("failed")
"""
    )
    assert len(lines) == 5
    for opens in OPENS:
        assert opens not in written
    assert written.count("[withheld]") >= 6
    assert "http://127.0.0.1:8080/health?a=1" in written and "127.0.0.1:5432/x" in written and "&b=2" in written
