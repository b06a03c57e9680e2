"""Failpoints: named places where a test may kill, pause or fail a process. Off, one costs a look at a global.

GRIDBAY_FAILPOINTS arms them when a process starts, and nothing else ever does:

    GRIDBAY_FAILPOINTS="scheduler.round.granted=kill@3*200,relay.claimed=pause"

kill: SIGKILL to this process; pause: SIGSTOP, until somebody sends SIGCONT; raise: FailpointReached. @N: at the Nth
passing of this process (1 if left out). *MAX: at most so often over all processes; each firing is a line in the file
that GRIDBAY_FAILPOINTS_LOG names, which counts them.
"""

import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

VARIABLE, LOG_VARIABLE = "GRIDBAY_FAILPOINTS", "GRIDBAY_FAILPOINTS_LOG"

POINTS = {
    "api.submit.before_commit": "a batch of submissions is written and not committed",
    "api.submit.after_commit": "a batch of submissions is durable and nobody was answered",
    "api.stream.mid": "a customer's stream has sent an event",
    "api.reports.before_commit": "agents' statuses are written and not committed",
    "api.reports.after_commit": "agents' statuses are durable, their readings not on the usage bus yet",
    "api.reports.published": "readings are on the usage bus and the agents were not answered",
    "relay.claimed": "due deliveries are claimed and not sent",
    "relay.sent": "deliveries are on the broker",
    "outbox.handled": "a handler has run and is not committed",
    "outbox.delivered": "a handler is committed and its task not acknowledged",
    "scheduler.round.begun": "a round has the lock and has read nothing",
    "scheduler.round.decided": "placement has decided and nothing is written",
    "scheduler.round.granted": "attempts and leases are written, their messages not",
    "scheduler.round.published": "a round is written whole and not committed",
    "scheduler.round.committed": "a round is durable and its task not acknowledged",
    "consumer.merged": "a batch of readings is merged and not committed",
    "consumer.committed": "a batch of readings is durable and not acknowledged",
    "billing.captured": "windows are settled and not committed",
    "billing.capture.committed": "windows are settled for good and the task not acknowledged",
    "settlement.opened": "due withdrawals are payouts, and nothing is asked of the chain",
    "settlement.simulated": "a batch is signed in memory and nothing of it is stored",
    "settlement.signed": "a payout is signed and stored and not sent",
    "settlement.sent": "a payout is sent and nothing is known of it",
    "agent.spooled": "a reading is on the node's disk and not sent",
    "agent.report.sent": "a report was answered and the agent has not noted it",
}

_ARMS = re.compile(r"(?P<name>[a-z_.]+)=(?P<action>kill|pause|raise)(@(?P<nth>[1-9]\d*))?(\*(?P<most>[1-9]\d*))?")


class FailpointReached(Exception):
    """A failpoint armed with `raise` was passed."""


@dataclass(slots=True)
class _Armed:
    """left: passings until it fires, below 0 once it has; most: firings over all processes, counted in the log."""

    action: str
    left: int
    most: int | None
    log: Path | None


def parse(text: str, log: Path | None = None) -> dict[str, _Armed]:
    """What is armed by that text. Raises ValueError for what nobody knows: a misspelt point would test nothing."""
    armed = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _ARMS.fullmatch(part)
        if match is None or match["name"] not in POINTS:
            raise ValueError(f"{VARIABLE}: {part!r} is no failpoint; one of {', '.join(POINTS)}, as NAME=kill@N*MAX")
        most = int(match["most"]) if match["most"] else None
        if most is not None and log is None:
            raise ValueError(f"{VARIABLE}: {part!r} is to be counted, and {LOG_VARIABLE} names no file")
        armed[match["name"]] = _Armed(match["action"], int(match["nth"] or 1), most, log)
    return armed


def failpoint(name: str) -> None:
    """Pass this point; nothing happens unless it is armed."""
    if _armed and (armed := _armed.get(name)) is not None:
        _pass(name, armed)


def _pass(name: str, armed: _Armed) -> None:
    armed.left -= 1
    if armed.left != 0 or not _noted(name, armed):
        return
    if armed.action == "raise":
        raise FailpointReached(name)
    os.kill(os.getpid(), signal.SIGKILL if armed.action == "kill" else signal.SIGSTOP)


def _noted(name: str, armed: _Armed) -> bool:
    """Write the firing down, unless there were enough."""
    if armed.log is None:
        return True
    if armed.most is not None and armed.log.exists() and armed.log.read_text().split("\n").count(name) >= armed.most:
        return False
    with armed.log.open("a") as log:
        log.write(f"{name}\n")
    return True


def arm() -> None:
    """Read the environment; a process does so when it loads this, and once more if it was forked from one that had."""
    log = os.environ.get(LOG_VARIABLE)
    _armed.clear()
    _armed.update(parse(os.environ.get(VARIABLE, ""), Path(log) if log else None))
    if _armed:
        sys.stderr.write(f"failpoints are armed: {', '.join(_armed)}\n")


_armed: dict[str, _Armed] = {}
arm()
