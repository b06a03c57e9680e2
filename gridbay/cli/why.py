"""`gridbay why`: why a job waits, or stands where it stands."""

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.jobs import JobId
from gridbay.cli.listing import facts, print_json
from gridbay.cli.session import open_market
from market.explanation_api import ExplanationView

app = typer.Typer()


@app.command()
def why(job_id: JobId, output: OutputOption = Output.TABLE) -> None:
    """Say why a job waits, or stands where it stands, and what would match."""
    with open_market() as market:
        found = market.why(job_id)
    if output is Output.JSON:
        print_json(found.model_dump(mode="json"))
    elif output is Output.QUIET:
        print(found.explanation)
    else:
        _show(found)


def _show(found: ExplanationView) -> None:
    rows = [("job", found.job_id), ("state", f"{found.state}: {wording.words_of(found.reason)}".removesuffix(": "))]
    if found.place is not None:
        price = found.place.price_per_unit_hour.usdc
        rows.append(("place", f"{found.place.node_name} of {found.place.provider_id}, at {price} USDC an hour"))
    if found.spot is not None:
        asked = f", where {found.spot.asked.usdc} is asked" if found.spot.asked else ""
        rows.append(("bid", f"{found.spot.bid.usdc} USDC an hour{asked}"))
        rows += [("", found.spot.words)] if found.spot.words else []
    rows.append(("offers", f"{found.matching} of {found.offers} match"))
    rows += [("", f"{removed.offers} {removed.words}") for removed in found.removed]
    rows += [("would match", change.words) for change in found.changes]
    if found.passed_since is not None:
        held = f"; places are held on {found.held_nodes} node(s)" if found.held_nodes else ""
        rows.append(("queue", f"others go first since {wording.moment(found.passed_since)}{held}"))
    results().print(facts(rows))
