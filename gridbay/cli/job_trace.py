"""How a job's trace is shown: a line an event, its ids and details below each other's columns."""

from datetime import UTC, datetime
from typing import Any

from gridbay.cli.console import harmless, remarks, results
from gridbay.client.operator import JobTrace, TraceEvent

DETAIL_MAX_CHARACTERS = 300
WHAT_CHARACTERS, BY_CHARACTERS = 24, 24


def print_trace(trace: JobTrace) -> None:
    """Times are of UTC, to the millisecond."""
    remarks().print(f"{trace.job_id}, request {trace.trace or 'unknown'}, {len(trace.events)} events, times in UTC")
    day = ""
    for event in trace.events:
        on = event.at.astimezone(UTC).strftime("%Y-%m-%d") if event.at else day
        if on != day:
            results().print(on, style="bold")
            day = on
        results().print(harmless(_line(event)), markup=False, soft_wrap=True)
    for kind in trace.truncated:
        remarks().print(f"there are more {kind} than are shown")


def _line(event: TraceEvent) -> str:
    at = _time(event.at) if event.at else "--:--:--.---"
    ids = " ".join(f"{name}={value}" for name, value in event.ids.items())
    detail = " ".join(f"{name}={_shown(value)}" for name, value in event.detail.items())
    said = f"{ids}  {detail}".strip()
    if len(said) > DETAIL_MAX_CHARACTERS:
        said = f"{said[:DETAIL_MAX_CHARACTERS]} …"
    return f"{at}  {event.what:<{WHAT_CHARACTERS}} {event.by:<{BY_CHARACTERS}} {said}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}:{item}" for name, item in value.items()) + "}"
    text = str(value)
    return repr(text) if " " in text else text
