"""`gridbay receipt`: the proof of a job's bill, fetched, and checked by anyone."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from gridbay.cli import wording
from gridbay.cli.console import results
from gridbay.cli.jobs import JobId
from gridbay.cli.listing import facts
from gridbay.cli.session import open_market
from gridbay.client.anchors import verify_anchors
from market.customer_api import ComponentsView
from market.errors import InvalidInput
from market.faults import faults_of
from market.money import format_usdc
from market.receipts import Receipt, verify_receipt

app = typer.Typer(no_args_is_help=True)
FILE_MAX_BYTES = 64 * 1024 * 1024
EXIT_FALSE = 1


@app.callback()
def receipt() -> None:
    """Fetch and check the proof of a job's bill."""


@app.command("get")
def get_receipt(
    job_id: JobId,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it there instead.", show_default=False)
    ] = None,
) -> None:
    """Fetch a receipt; there is one when the epoch of the bill is closed."""
    with open_market() as market:
        text = market.receipt(job_id).model_dump_json(indent=2)
    if file is None:
        print(text)
    else:
        file.write_text(f"{text}\n")
        print(f"{file}; check it with: gridbay receipt verify {file}")


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt as `receipt get` writes it.", show_default=False)],
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", help="Check it against the chain too, at this Solana RPC.", show_default=False),
    ] = None,
    treasury: Annotated[
        str | None,
        typer.Option("--treasury", help="The address you trust to anchor; else the receipt's.", show_default=False),
    ] = None,
) -> None:
    """Recompute a receipt: amounts, rounding, split, path to the root; with --rpc, the root on the chain.

    Needs no market and no login. Ends with 0 if all of it holds, 1 if anything does not.
    """
    found = read_receipt(file)
    problems = list(verify_receipt(found).problems)
    checked = "amounts, split, sum and the way to each epoch's root"
    anchored = ""
    if rpc is not None:
        verdict = verify_anchors(found, rpc, treasury=treasury)
        problems += verdict.problems
        checked += "; the root on the chain"
        signed = "the treasury you named" if treasury else "the treasury that the receipt names"
        anchored = "\n".join(f"epoch {a.epoch} in {a.signature} (slot {a.slot})" for a in verdict.anchors)
        anchored += f"\nsigned by {verdict.treasury}, {signed}" if verdict.anchors else ""
    rows = [
        ("job", found.job_id),
        ("lines", str(len(found.lines))),
        ("total", f"{format_usdc(found.total_microusd)} USDC"),
        *[("price", words) for words in _prices(found)],
        ("checked", checked),
        ("anchored", anchored),
    ]
    results().print(facts(rows))
    for problem in problems:
        results().print(f"does not hold: {problem}", style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(EXIT_FALSE)
    results().print(
        "receipt verified" + ("" if rpc else " offline (with --rpc URL against the chain too)"), style="green"
    )


def _prices(found: Receipt) -> list[str]:
    """What the prices were made of where more is in them than the unit's own, each once."""
    told = (entry.line for entry in found.lines if entry.line.told)
    words = (
        f"{format_usdc(line.price_microusd_per_unit_hour)} a unit: {wording.made_of(ComponentsView.of(line))}"
        for line in told
    )
    return list(dict.fromkeys(words))


def read_receipt(file: Path) -> Receipt:
    """Raises InvalidInput for what is no receipt."""
    try:
        with file.open("rb") as source:
            content = source.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
    if len(content) > FILE_MAX_BYTES:
        raise InvalidInput(f"{file} is too large for a receipt")
    try:
        return Receipt.model_validate_json(content)
    except ValidationError as error:
        faults = list(faults_of(Receipt, error.errors(include_url=False)))
        place = f", at {faults[0].pointer}" if faults[0].pointer else ""
        raise InvalidInput(
            f"{file} is no receipt{place}: {faults[0].detail}", remedy="gridbay receipt get JOB -o FILE fetches one"
        ) from None
