"""`gridbay`: the entry point, and the list of every command."""

import os
import sys
from typing import Annotated

import typer

from gridbay.cli.lazy import Commands, Entry, group_of
from market.error_codes import Kind
from market.errors import MarketError

EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 3

_CUSTOMER, _PROVIDER, _OPERATOR, _OTHER = "Rent", "Provide", "Operate", "Other"

ENTRIES = (
    Entry("login", "gridbay.cli.login:app", "Store the URL and token of a market.", _CUSTOMER),
    Entry("offers", "gridbay.cli.offers:app", "List what is for rent, cheapest first.", _CUSTOMER),
    Entry("run", "gridbay.cli.run:app", "Run a job: show its plan, ask, follow it live, say what it cost.", _CUSTOMER),
    Entry("jobs", "gridbay.cli.jobs:app", "List jobs, or show one.", _CUSTOMER),
    Entry("job", "gridbay.cli.jobs:app", "The same as `jobs`.", _CUSTOMER, hidden=True),
    Entry(
        "why", "gridbay.cli.why:app", "Say why a job waits, or stands where it stands, and what would match.", _CUSTOMER
    ),
    Entry("logs", "gridbay.cli.logs:app", "Print a job's log; -f follows it.", _CUSTOMER),
    Entry("stop", "gridbay.cli.stop:app", "Stop jobs; what they used so far is charged.", _CUSTOMER),
    Entry("cost", "gridbay.cli.cost:app", "Show what a job has cost, line by line.", _CUSTOMER),
    Entry("outputs", "gridbay.cli.outputs:app", "List what a job left, or download it.", _CUSTOMER),
    Entry("receipt", "gridbay.cli.receipt:app", "Fetch and check the proof of a job's bill.", _CUSTOMER),
    Entry("epoch", "gridbay.cli.epoch:app", "Fetch and recompute a closed epoch, line by line.", _CUSTOMER),
    Entry("balance", "gridbay.cli.balance:app", "Show what can be spent now and what is pending.", _CUSTOMER),
    Entry("deposit", "gridbay.cli.deposit:app", "Pay USDC in: shows how, and waits for it.", _CUSTOMER),
    Entry("withdraw", "gridbay.cli.withdraw:app", "Take available USDC back to a wallet of yours.", _CUSTOMER),
    Entry(
        "withdrawals",
        "gridbay.cli.withdraw:withdrawals_app",
        "List withdrawals, show one, or cancel one that still waits.",
        _CUSTOMER,
    ),
    Entry("allowance", "gridbay.cli.allowance:app", "Have jobs paid from a token account of your own.", _CUSTOMER),
    Entry("budget", "gridbay.cli.budget:app", "Set what may be spent in an hour, a day or a month.", _CUSTOMER),
    Entry("secrets", "gridbay.cli.secrets:app", "Store secrets for jobs that name them.", _CUSTOMER),
    Entry("provider", "gridbay.cli.provider:app", "Offer a machine, and see what it earns.", _PROVIDER),
    Entry("up", "gridbay.cli.up:app", "Run the whole market on this machine.", _OPERATOR),
    Entry(
        "demo", "gridbay.cli.demo:app", "Show the main job on the whole market, with its verified receipt.", _OPERATOR
    ),
    Entry("doctor", "gridbay.cli.doctor:app", "Say of every engine: real, embedded or missing, and why.", _OPERATOR),
    Entry("admin", "gridbay.cli.admin:app", "Settle, look over the market, check its ledger.", _OPERATOR),
    Entry("analytics", "gridbay.cli.analytics:app", "Report GMV, utilization, queue wait and outcomes.", _OPERATOR),
    Entry("process", "gridbay.cli.process:app", "Run one process of a market.", _OPERATOR, hidden=True),
    Entry("version", "gridbay.cli.version:app", "Print the version.", _OTHER),
)

app = typer.Typer(
    name="gridbay",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback's local variables may hold a token.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 well · 1 refused · 2 wrong usage or job.yaml · 3 not now: no answer, or not ready yet · "
    "130 interrupted. `gridbay run` ends with the job's own.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        # Reading the installed version takes longer than all else here.
        from gridbay.cli.version import print_version  # noqa: PLC0415

        print_version()
        raise typer.Exit


@app.callback()
def gridbay(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Rent and offer GPUs on an open market whose bills anyone can recompute."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status."""
    try:
        try:
            group_of(app, ENTRIES)(arguments, prog_name="gridbay")
        finally:
            # Here and not at the interpreter's end, where nobody could say it nicely.
            if sys.stdout is not None:
                sys.stdout.flush()
    except MarketError as error:
        # Only a refusal needs to be written nicely.
        from gridbay.cli.refused import tell_refusal  # noqa: PLC0415

        tell_refusal(error)
        sys.exit(status_of(error))
    except BrokenPipeError:
        # Whoever read has seen enough.
        _close_stdout()
        sys.exit(EXIT_REFUSED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"gridbay: {place}{error.strerror or error}\n")
        _close_stdout()
        sys.exit(EXIT_REFUSED)
    except Exception as error:
        from gridbay.cli.fault import tell_fault  # noqa: PLC0415

        tell_fault(error)
        sys.exit(EXIT_REFUSED)


def _close_stdout() -> None:
    """Let nothing be written there any more: Python would try once more when it ends, and complain."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def status_of(error: MarketError) -> int:
    """The exit status of a refusal."""
    if error.kind in (Kind.INVALID, Kind.NOT_YET, Kind.MALFORMED):
        return EXIT_USAGE
    return EXIT_UNREACHABLE if error.kind is Kind.UNAVAILABLE else EXIT_REFUSED


if __name__ == "__main__":
    main()
