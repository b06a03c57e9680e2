"""`gridbay provider doctor`: the checklist alone."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli.agent_state import RuntimeOption
from gridbay.cli.extras import need_agent

with need_agent():
    from gridbay.cli.checklist import go_through, job_runtime_here
    from provider_agent.checklist import Checklist, Subject

app = typer.Typer()


@app.command()
def provider_doctor(
    *,
    portal: Annotated[str | None, typer.Option("--portal", help="The market to reach.", show_default=False)] = None,
    simulate: Annotated[str | None, typer.Option("--simulate", help="Pretend GPUs, such as H100:2.")] = None,
    job_runtime: RuntimeOption = None,
) -> None:
    """Go through the checklist of a provider's machine.

    Ends with 1 if something failed. Nothing is kept.
    """
    with tempfile.TemporaryDirectory(prefix="gridbay-doctor-") as folder:
        runtime = job_runtime or job_runtime_here()
        subject = Subject(Path(folder), portal_url=portal, simulate=simulate, job_runtime=runtime)
        well = go_through(Checklist(subject))
    if not well:
        raise typer.Exit(1)
