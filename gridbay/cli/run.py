"""`gridbay run`: plan, question, submit, live states and log, cost; ends with the job's own exit code."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from gridbay.cli.console import Output, OutputOption, confirmed, remarks
from gridbay.cli.following import Following, closing_line, exit_code
from gridbay.cli.job_flags import JobFlags
from gridbay.cli.job_plan import show_plan
from gridbay.cli.job_request import JobRequest, job_of_command, job_of_file
from gridbay.cli.listing import print_json
from gridbay.cli.session import WATCHING_PATIENCE_SECONDS, open_market
from gridbay.client.sdk import Gridbay
from gridbay.client.workdirs import Archive, pack
from market.customer_api import JobView, PlanView
from market.errors import InvalidInput, MarketError
from market.specs import InvalidSpec

app = typer.Typer()
INTERRUPTED = 130
_COMMAND = "gridbay.command"


class RunCommand(TyperCommand):
    """What stands after `--` is the job's command, not ours."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ours, theirs = args, []
        if "--" in args:
            cut = args.index("--")
            ours, theirs = args[:cut], args[cut + 1 :]
        ctx.meta[_COMMAND] = theirs
        return super().parse_args(ctx, ours)


def _option(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, show_default=False, rich_help_panel="The job")


@app.command(cls=RunCommand, epilog="Example: gridbay run --gpu 24GB.. --max-total 2 -- python train.py")
def run(
    context: typer.Context,
    *,
    file: Annotated[Path | None, typer.Argument(help="job.yaml", metavar="FILE", show_default=False)] = None,
    gpu: Annotated[str | None, _option("--gpu", text="H100, H100:80GB:2, 24GB.., a count")] = None,
    cpu: Annotated[str | None, _option("--cpu", text="CPUs: 2, 0.5")] = None,
    memory: Annotated[str | None, _option("--memory", text="RAM: 4GB")] = None,
    disk: Annotated[str | None, _option("--disk", text="Scratch space: 20GB")] = None,
    simulated: Annotated[bool | None, _option("--simulated", text="Take simulated GPUs.")] = None,
    spot: Annotated[bool | None, _option("--spot", text="Bid --max-price; what pays more interrupts it.")] = None,
    name: Annotated[str | None, _option("--name", text="The job's name.")] = None,
    workdir: Annotated[str | None, _option("--workdir", text="The folder to send; with a command, this one.")] = None,
    no_workdir: Annotated[bool, _option("--no-workdir", text="Send no folder.")] = False,
    env: Annotated[list[str] | None, _option("--env", "-e", text="NAME=VALUE; may be repeated.")] = None,
    secret: Annotated[list[str] | None, _option("--secret", text="A stored secret; may be repeated.")] = None,
    keep: Annotated[list[str] | None, _option("--keep", text="An output to keep; may be repeated.")] = None,
    label: Annotated[list[str] | None, _option("--label", text="For budgets: team=vision; may be repeated.")] = None,
    max_price: Annotated[str | None, _option("--max-price", text="USDC for one unit and hour, at most.")] = None,
    max_total: Annotated[str | None, _option("--max-total", text="USDC for the whole job, at most.")] = None,
    max_duration: Annotated[str | None, _option("--max-duration", text="90s, 15m, 2h, 1d")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; send and charge nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Submit, and do not wait.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Fetch the outputs there afterwards.", show_default=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a job: show its plan, ask, follow it live, say what it cost.

    The job is a FILE, or a command after `--`, or a FILE with another command. Options stand above what the file
    says. Ctrl-C asks whether to stop the job or to leave it running.
    """
    flags = JobFlags(
        name=name, gpu=gpu, cpu=cpu, memory=memory, disk=disk, simulated=simulated, spot=spot, workdir=workdir,
        env=tuple(env or ()), secret=tuple(secret or ()), keep=tuple(keep or ()), label=tuple(label or ()),
        max_price=max_price, max_total=max_total, max_duration=max_duration,
    )  # fmt: skip
    request = _request(file, flags, context.meta[_COMMAND], send_folder=not no_workdir)
    with ExitStack() as stack:
        market = stack.enter_context(open_market(WATCHING_PATIENCE_SECONDS))
        archive = stack.enter_context(pack(request.folder)) if request.folder else None
        plan = _plan(market, request, archive)
        if dry_run:
            _show_dry_run(request, plan, archive, output)
            return
        show_plan(remarks(), request, plan, archive)
        if not confirmed("Run it?", yes=yes):
            raise typer.Exit(1)
        digest = market.upload_archive(archive) if archive is not None else None
        job = market.submit(request.data, workdir_sha256=digest)
        if detach:
            _show_detached(job, output)
            return
        code = _attend(market, job, output_dir, output)
    raise typer.Exit(code)


def _request(file: Path | None, flags: JobFlags, command: list[str], *, send_folder: bool) -> JobRequest:
    if file is not None:
        return job_of_file(file, flags, command, send_folder=send_folder)
    if command:
        return job_of_command(flags, command, send_folder=send_folder)
    raise InvalidInput(
        "what is to be run?", remedy="gridbay run job.yaml, or: gridbay run --gpu 24GB.. -- python train.py"
    )


def _plan(market: Gridbay, request: JobRequest, archive: Archive | None) -> PlanView:
    """The market knows more than this command line may: what it finds wrong in a file is shown in the file too."""
    try:
        return market.plan(request.data, workdir_sha256=archive.sha256 if archive else None)
    except InvalidSpec as error:
        raise (request.source.explained(error) if request.source else error) from None


def _show_dry_run(request: JobRequest, plan: PlanView, archive: Archive | None, output: Output) -> None:
    if output is Output.TABLE:
        show_plan(remarks(), request, plan, archive)
        print("dry run: nothing was sent or charged")
    elif output is Output.JSON:
        print_json(plan.model_dump(mode="json"))
    else:
        print(plan.highest_cost.usdc)


def _show_detached(job: JobView, output: Output) -> None:
    if output is Output.JSON:
        print_json(job.model_dump(mode="json"))
    elif output is Output.QUIET:
        print(job.job_id)
    else:
        print(f"{job.job_id} is submitted\n  follow: gridbay logs -f {job.job_id}\n  stop:   gridbay stop {job.job_id}")


def _attend(market: Gridbay, job: JobView, output_dir: Path | None, output: Output) -> int:
    """Follow the job to its end; the exit status."""
    console = remarks()
    console.print(job.job_id, style="bold")
    # With JSON the result has stdout for itself.
    following = Following(market, job, console, sys.stderr if output is Output.JSON else sys.stdout)
    while True:
        try:
            job = following.run()
            break
        except MarketError as error:
            console.print(f"no longer watched, but {job.job_id} goes on: gridbay logs -f {job.job_id}", style="bold")
            raise error from None
        except KeyboardInterrupt:
            code = _after_interrupt(market, job)
            if code is not None:
                console.print(f"{job.job_id} runs on: gridbay logs -f {job.job_id}", style="bold")
                return code
    console.print(closing_line(job), style="bold", markup=False)
    if output_dir is not None:
        for path in market.download_outputs(job.job_id, output_dir):
            console.print(f"  {path}", markup=False)
    if job.cost.microusd:
        console.print(f"receipt, once the epoch is closed: gridbay receipt get {job.job_id}", style="dim")
    if output is Output.JSON:
        print_json(job.model_dump(mode="json"))
    return exit_code(job)


def _after_interrupt(market: Gridbay, job: JobView) -> int | None:
    """Ask what Ctrl-C meant: stop the job and see its end (None), leave it running (the exit status), or go on (None).

    Without a terminal, and at a second Ctrl-C, the job is left running.
    """
    if not sys.stdin.isatty():
        return INTERRUPTED
    try:
        answer = typer.prompt("\nstop the job, detach and let it run, or continue here? [s/d/c]", default="d", err=True)
    except (KeyboardInterrupt, EOFError, typer.Abort):
        return INTERRUPTED
    match answer.strip().lower()[:1]:
        case "s":
            market.stop(job.job_id)
            return None
        case "c":
            return None
        case _:
            return 0
