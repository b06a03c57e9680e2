"""`gridbay stop`: asks jobs to end."""

from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.session import open_market

app = typer.Typer()


@app.command()
def stop(
    job_ids: Annotated[list[str], typer.Argument(help="job_...", metavar="JOB...", show_default=False)],
) -> None:
    """Stop jobs; what they used so far is charged."""
    with open_market() as market:
        for job_id in job_ids:
            job = market.stop(job_id)
            print(f"{job.job_id}  {wording.state(job)}")
