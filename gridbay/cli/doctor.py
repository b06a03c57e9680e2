"""`gridbay doctor`: every engine and everything a provider's machine needs, each with why and how to mend it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer

from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.embedded import running_market
from gridbay.cli.engines import Finding, Level, engines
from gridbay.cli.listing import print_json

app = typer.Typer()
COLOURS = {
    Level.REAL: "green",
    Level.EMBEDDED: "green",
    Level.OK: "green",
    Level.WARN: "yellow",
    Level.AWAY: "red",
    Level.MISSING: "red",
}


@app.command()
def doctor(output: OutputOption = Output.TABLE) -> None:
    """Say of every engine: real, embedded or missing, and why.

    Ends with 0 if a market can run on this machine, with 1 if something it needs is missing.
    """
    findings = []
    for finding in _all():
        findings.append(finding)
        if output is Output.TABLE:
            _show(finding)
    missing = [finding.engine for finding in findings if finding.level is Level.MISSING]
    if output is Output.JSON:
        print_json([{"engine": f.engine, "level": f.level, "why": f.why, "mend": f.mend} for f in findings])
    elif output is Output.QUIET:
        print("\n".join(missing), end="\n" if missing else "")
    elif missing:
        print(f"\na market cannot run here: {', '.join(missing)}")
    elif any(finding.level is Level.AWAY for finding in findings):
        print("\nthe chain that the environment names does not answer; with its own a market can run here: gridbay up")
    else:
        print("\na market can run here: gridbay up")
    if missing:
        raise typer.Exit(1)


def _all() -> Iterator[Finding]:
    yield from engines()
    yield _isolation()
    yield from _machine()
    yield _market()


def _show(finding: Finding) -> None:
    console = results()
    console.print(f"[{COLOURS[finding.level]}]{finding.level:<9}[/] {finding.engine:<19} ", end="")
    console.print(finding.why, markup=False, soft_wrap=True)
    if finding.mend:
        console.print(f"{'':<29} mend: {finding.mend}", markup=False, style="dim", soft_wrap=True)


def _isolation() -> Finding:
    # Tries namespaces in processes of its own; nothing but this command needs it.
    from gridbay.standalone.namespace import find_isolation  # noqa: PLC0415

    found = find_isolation()
    if found.name == "none":
        mend = "run as root, or: sysctl -w kernel.unprivileged_userns_clone=1"
        why = f"no PID namespace ({found.why}): kill -9 of `gridbay up` may leave processes behind"
        return Finding("process tree", Level.WARN, why, mend)
    how = "as root" if found.name == "root" else "through a user namespace"
    return Finding("process tree", Level.OK, f"one PID namespace, {how}: nothing is left behind")


def _machine() -> Iterator[Finding]:
    """The provider's checklist, as the embedded market's own agent would see it."""
    try:
        # The provider's side, which a base installation lacks.
        from gridbay.cli.checklist import job_runtime_here  # noqa: PLC0415
        from provider_agent.checklist import Checklist, Subject  # noqa: PLC0415
        from provider_agent.checklist import Level as Mark  # noqa: PLC0415
    except ModuleNotFoundError as error:
        yield Finding(
            "provider's machine", Level.MISSING, f"not installed: {error.name}", "pip install 'gridbay[agent]'"
        )
        return
    levels = {Mark.PASS: Level.OK, Mark.WARN: Level.WARN, Mark.FAIL: Level.MISSING}
    with tempfile.TemporaryDirectory(prefix="gridbay-doctor-") as folder:
        subject = Subject(Path(folder), job_runtime=job_runtime_here(), allow_plain_sandbox=True)
        for check in Checklist(subject).run():
            yield Finding(check.name, levels[check.level], check.actual, check.mend)


def _market() -> Finding:
    running = running_market()
    if running is None:
        return Finding("market", Level.OK, "none runs on this machine's default state folder now")
    return Finding("market", Level.OK, f"runs at {running.account.url} ({running.state_dir})")
