"""The checklist of a provider's machine as it is gone through: PASS, WARN or FAIL, why it matters, how to mend it."""

from pathlib import Path

import gridbay
from gridbay.cli.console import remarks
from provider_agent.checklist import Checklist, Level

_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.FAIL: "red"}


def go_through(checklist: Checklist) -> bool:
    """Show each check as it is done; whether none failed."""
    console, failed = remarks(), 0
    for check in checklist.run():
        console.print(f"[{_COLOURS[check.level]}]{check.level}[/]  {check.name:<19} ", end="")
        console.print(check.actual, markup=False)
        if check.level is not Level.PASS:
            console.print(f"      required: {check.required}; {check.why}", style="dim", markup=False)
            console.print(f"      mend: {check.mend}", markup=False)
        failed += check.level is Level.FAIL
    return not failed


def job_runtime_here() -> Path | None:
    """The environment for jobs that `make setup` makes beside the sources; None in an installation without one."""
    environment = Path(gridbay.__file__).resolve().parents[1] / ".venv-jobs"
    return environment if (environment / "pyvenv.cfg").is_file() else None
