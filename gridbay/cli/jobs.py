"""`gridbay jobs` and `gridbay jobs show`: what one has submitted, and how one job stands."""

from itertools import islice
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.listing import Column, show, show_one, table_of
from gridbay.cli.session import open_market
from market.customer_api import AttemptView, JobView
from market.states import JobState

app = typer.Typer(invoke_without_command=True)
JobId = Annotated[str, typer.Argument(help="job_...", metavar="JOB", show_default=False)]
SHOWN = 20

COLUMNS = (
    Column("JOB", lambda job: job.job_id, rank=0),
    Column("NAME", lambda job: job.name),
    Column("STATE", lambda job: job.state, rank=0),
    Column("REASON", wording.reason, wraps=True, rank=2),
    Column("NODE", lambda job: job.attempts[-1].node_name if job.attempts else "", rank=3),
    Column("RAN", lambda job: wording.duration(wording.run_seconds(job)) if job.attempts else "", right=True, rank=2),
    Column("COST USDC", lambda job: job.cost.usdc, right=True, rank=0),
    Column("SUBMITTED", lambda job: wording.moment(job.created_at), rank=3),
)
ATTEMPT_COLUMNS = (
    Column("ATTEMPT", lambda attempt: str(attempt.number), right=True, rank=0),
    Column("NODE", lambda attempt: attempt.node_name),
    Column("STATE", lambda attempt: attempt.state, rank=0),
    Column("REASON", lambda attempt: f"{attempt.reason} {attempt.detail}".strip(), wraps=True),
    Column("EXIT", lambda attempt: "" if attempt.exit_code is None else str(attempt.exit_code), right=True),
    Column("RAN", lambda attempt: wording.duration(wording.attempt_seconds(attempt)), right=True),
    Column("USDC/h", lambda attempt: attempt.price_per_unit_hour.usdc, right=True, rank=2),
)


@app.callback()
def jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="So many, newest first.")] = SHOWN,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", help="Only in this state; may be repeated.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, or show one."""
    if context.invoked_subcommand is not None:
        return
    with open_market() as market:
        found = list(islice(market.jobs(states=state or ()), limit))
    if not found and output is Output.TABLE:
        print(f"no job is {' or '.join(state)}" if state else "no job yet: gridbay run job.yaml")
        return
    show(found, COLUMNS, output, name=lambda job: job.job_id)


@app.command("show")
def show_job(job_id: JobId, output: OutputOption = Output.TABLE) -> None:
    """Show one job: its state and why, its attempts, its cost."""
    with open_market() as market:
        job = market.job(job_id)
    show_one(job, _facts(job), output, name=job.job_id)
    if output is Output.TABLE and job.attempts:
        results().print()
        results().print(table_of(job.attempts, ATTEMPT_COLUMNS))
        made = [(one.number, one.components) for one in job.attempts if one.components]
        for number, components in made:
            results().print(f"attempt {number}: {wording.made_of(components)}", markup=False, soft_wrap=True)


def _facts(job: JobView) -> list[tuple[str, str]]:
    newest: AttemptView | None = job.attempts[-1] if job.attempts else None
    bill = "" if job.billed else ", not billed to the end yet" if job.state.final else " so far"
    return [
        ("job", job.job_id),
        ("name", job.name),
        ("state", wording.state(job)),
        ("reason", job.reason),
        ("exit code", "" if job.exit_code is None else str(job.exit_code)),
        ("node", f"{newest.node_name} ({newest.node_id})" if newest else ""),
        ("resources", wording.quantity(job.quantity_milli, job.unit)),
        ("submitted", wording.moment(job.created_at)),
        ("started", wording.moment(job.started_at)),
        ("ended", wording.moment(job.ended_at)),
        ("ran", wording.duration(wording.run_seconds(job)) if job.attempts else ""),
        ("cost", f"{job.cost.usdc} USDC{bill}"),
        ("held", f"{job.held.usdc} USDC" if job.held.microusd else ""),
    ]
