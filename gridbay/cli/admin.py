"""`gridbay admin`: closing an epoch and seeing it settled, the market at a glance, the check of its ledger."""

import time
from typing import Annotated, Any

import typer

from gridbay.cli import adjustments, discounts, rounds, shares, treasury, wording
from gridbay.cli.console import Output, OutputOption, remarks, results
from gridbay.cli.job_trace import print_trace
from gridbay.cli.listing import Column, facts, print_json, show, table_of
from gridbay.cli.session import open_session, tell_retry
from gridbay.client.operator import Epoch, Operator
from market.errors import Unavailable

app = typer.Typer(no_args_is_help=True)
ledger_app = typer.Typer(no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
job_app = typer.Typer(no_args_is_help=True)
app.add_typer(job_app, name="job")
SETTLE_SECONDS = 120.0
LOOK_SECONDS = 0.25
LOOK_SECONDS_MAX = 2.0
OPEN = "open"
PAYOUT_COLUMNS = (
    Column("PROVIDER", lambda payout: payout.provider_id, rank=0),
    Column("AMOUNT", lambda payout: payout.amount.usdc, right=True, rank=0),
    Column("STATE", lambda payout: f"{payout.state} {payout.detail}".strip(), wraps=True, rank=0),
    Column("TO", lambda payout: payout.wallet_address, rank=3),
    Column("SIGNATURE", lambda payout: payout.signature or "", rank=2),
)
CONDITION_COLUMNS = (
    Column("NODE", lambda condition: condition.node_name, rank=0),
    Column("GPU", lambda condition: condition.gpu_uuid or "", rank=2),
    Column("", lambda condition: "quarantined" if condition.quarantines else "note", rank=0),
    Column("WHAT", lambda condition: f"{condition.reason} {condition.detail}".strip(), wraps=True, rank=0),
    Column("SINCE", lambda condition: wording.moment(condition.began_at)),
    Column("MEND", lambda condition: condition.remedy, wraps=True, rank=3),
    Column("PROVIDER", lambda condition: condition.provider_id, rank=3),
)


def open_operator() -> Operator:
    """The market as its operator sees it; to be used in a `with` block."""
    session = open_session("operator")
    return Operator(session.account.url, session.token("operator"), on_retry=tell_retry)


@app.callback()
def admin() -> None:
    """Settle, look over the market, check its ledger.

    And its custody, its conditions and its deposits.
    """


treasury.add_to(app, open_operator)
adjustments.add_to(app, open_operator)
rounds.add_to(app, open_operator)
shares.add_to(app, open_operator)
discounts.add_to(app, open_operator)


@app.command()
def settle(
    *,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds until the chain has it; 0 does not wait.")
    ] = SETTLE_SECONDS,
    output: OutputOption = Output.TABLE,
) -> None:
    """Close the open epoch now, anchor its root and send its payouts."""
    with open_operator() as operator:
        epoch = operator.close_epoch()
        if epoch is None:
            print("no usage line was open: there is nothing to settle")
            return
        if wait:
            with remarks().status("the chain finalizes it …"):
                epoch = wait_settled(operator, epoch, wait)
    if output is Output.JSON:
        print_json(epoch.model_dump(mode="json"))
    elif output is Output.QUIET:
        print(epoch.epoch)
    else:
        results().print(facts(_epoch_facts(epoch)))
        if epoch.payouts:
            results().print(table_of(epoch.payouts, PAYOUT_COLUMNS))


@app.command()
def conditions(output: OutputOption = Output.TABLE) -> None:
    """Show what stands against nodes and their GPUs, and how it is mended."""
    with open_operator() as operator:
        found = operator.conditions()
    if not found and output is Output.TABLE:
        print("nothing stands against any node")
        return
    show(found, CONDITION_COLUMNS, output, name=lambda condition: condition.node_id)


def wait_settled(operator: Operator, epoch: Epoch, seconds: float) -> Epoch:
    """The epoch once its root and every payout are final. Raises Unavailable, with what is still open."""
    until, pause = time.monotonic() + seconds, LOOK_SECONDS
    while waiting := unsettled(epoch):
        if time.monotonic() > until:
            raise Unavailable(
                f"epoch {epoch.epoch} is not settled after {seconds:g} s: {waiting}",
                remedy="settlement goes on by itself; see the worker's log and `gridbay admin overview`",
            )
        time.sleep(pause)
        pause = min(pause * 1.3, LOOK_SECONDS_MAX)
        epoch = operator.epoch(epoch.epoch)
    return epoch


def unsettled(epoch: Epoch) -> str:
    """What of it is not final yet, in words; empty when all of it is."""
    open_payouts = [payout for payout in epoch.payouts if payout.state == OPEN]
    said = ["its root is not anchored"] if epoch.anchor_signature is None else []
    said += [f"payout {p.payout_id} is {p.state} {p.detail}".rstrip() for p in open_payouts]
    return "; ".join(said)


@app.command("overview")
def show_overview(output: OutputOption = Output.TABLE) -> None:
    """Show the market at a glance: nodes, jobs, money, what is stuck."""
    with open_operator() as operator:
        found = operator.overview()
    if output is Output.JSON:
        print_json(found)
    else:
        results().print(facts(list(_flat(found))))


@ledger_app.callback()
def ledger() -> None:
    """Look after the ledger."""


@ledger_app.command("check")
def check_ledger(output: OutputOption = Output.TABLE) -> None:
    """Check that the ledger balances and that every invariant holds; ends with 1 if not."""
    with open_operator() as operator:
        found = operator.ledger()
    well = found.imbalance_microusd == 0 and not found.broken
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
    else:
        rows = [("entries", str(found.entries)), ("imbalance", f"{found.imbalance_microusd} micro-USDC")]
        rows += [(name, f"{money.usdc} USDC") for name, money in found.money.items()]
        results().print(facts(rows))
        for broken in found.broken:
            results().print(f"does not hold: {broken}", style="red", markup=False, soft_wrap=True)
        results().print("the ledger balances" if well else "the ledger does NOT hold", style="green" if well else "red")
    if not well:
        raise typer.Exit(1)


@job_app.callback()
def job() -> None:
    """Look after one job."""


@job_app.command("trace")
def trace_job(
    job_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)], output: OutputOption = Output.TABLE
) -> None:
    """Print everything that happened to a job, in order, from the market's rows."""
    with open_operator() as operator:
        found = operator.job_trace(job_id)
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
    else:
        print_trace(found)


def _epoch_facts(epoch: Epoch) -> list[tuple[str, str]]:
    return [
        ("epoch", str(epoch.epoch)),
        ("root", epoch.root),
        ("lines", f"{epoch.line_count}, {epoch.total.usdc} USDC in all"),
        ("anchored in", epoch.anchor_signature or "not yet"),
    ]


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested facts as lines; money in USDC."""
    rows: list[tuple[str, str]] = []
    for name, item in value.items():
        title = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(item, dict) and "usdc" in item:
            rows.append((title, f"{item['usdc']} USDC"))
        elif isinstance(item, dict):
            rows += _flat(item, f"{title}: ")
        else:
            rows.append((title, str(item)))
    return rows
