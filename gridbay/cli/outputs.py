"""`gridbay outputs`: what a job left, listed or downloaded."""

from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption
from gridbay.cli.jobs import JobId
from gridbay.cli.listing import Column, show
from gridbay.cli.session import open_market

app = typer.Typer()
COLUMNS = (
    Column("PATH", lambda file: file.path, rank=0),
    Column("SIZE", lambda file: wording.size(file.size_bytes), right=True, rank=0),
    Column("SHA-256", lambda file: file.sha256),
)


@app.command()
def outputs(
    job_id: JobId,
    folder: Annotated[
        Path | None, typer.Option("--download", "-d", help="Fetch them into this folder.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what a job left, or download it."""
    with open_market() as market:
        if folder is not None:
            for path in market.download_outputs(job_id, folder):
                print(path)
            return
        files = market.outputs(job_id)
    if not files and output is Output.TABLE:
        print("this job left no outputs: name them in job.yaml (`outputs: [metrics.json]`)")
        return
    show(files, COLUMNS, output, name=lambda file: file.path)
