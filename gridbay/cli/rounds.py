"""`gridbay admin round`: the rounds of placement on record, and any of them decided again."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.listing import Column, facts, print_json, show
from gridbay.client.operator import Operator
from market.rounds_api import ReplayView

DIFFERENCES_SHOWN = 20
OTHER_RULES = 3
"""The exit code of a round that cannot be judged: the market decides by other rules since."""
round_app = typer.Typer(no_args_is_help=True)
COLUMNS = (
    Column("ROUND", lambda one: one.round_id, rank=0),
    Column("AT", lambda one: wording.moment(one.decided_at), rank=0),
    Column("ASKED", lambda one: str(one.asked), right=True, rank=0),
    Column("PLACED", lambda one: str(one.placed), right=True, rank=0),
    Column("BYTES", lambda one: str(one.size_bytes), right=True, rank=3),
    Column("DIGEST", lambda one: one.digest, rank=2),
)


def add_to(app: typer.Typer, open_operator: Callable[[], Operator]) -> None:
    """Add the commands that need an operator's market."""
    app.add_typer(round_app, name="round")

    @round_app.callback()
    def rounds() -> None:
        """Look at rounds of placement, and decide them again."""

    @round_app.command("list")
    def list_rounds(
        limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="So many, newest first.")] = 20,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """List the newest rounds on record."""
        with open_operator() as operator:
            found = operator.rounds(limit=limit)
        if not found and output is Output.TABLE:
            print("no round is on record yet")
            return
        show(found, COLUMNS, output, name=lambda one: one.round_id)

    @round_app.command("replay")
    def replay_round(
        round_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)], output: OutputOption = Output.TABLE
    ) -> None:
        """Decide a recorded round again: exit code 1 if it does not come to the same, 3 if other rules did."""
        with open_operator() as operator:
            found = operator.replay_round(round_id)
        if output is Output.JSON:
            print_json(found.model_dump(mode="json"))
        else:
            rows = [
                ("asked", f"{found.round.asked}, of which placed {found.round.placed}"),
                ("offers", str(found.offers)),
                ("seed", found.seed),
                ("record", "sound" if found.sound else "changed, or one before it is missing"),
            ]
            results().print(facts(rows))
            for said, lines in ("was", found.recorded), ("comes to", found.again):
                for line in lines[:DIFFERENCES_SHOWN]:
                    results().print(f"{said}: {line}", style="red", markup=False, soft_wrap=True)
            words, style = _verdict(found)
            results().print(words, style=style, soft_wrap=True)
        if not found.agrees:
            raise typer.Exit(OTHER_RULES if _by_other_rules(found) else 1)


def _by_other_rules(found: ReplayView) -> bool:
    return found.sound and not found.agrees and not found.same_rules


def _verdict(found: ReplayView) -> tuple[str, str]:
    if found.agrees:
        return "it comes to the same again", "green"
    if _by_other_rules(found):
        return "decided by other rules: the version that was running then comes to it, or does not", "yellow"
    return "it does NOT come to the same", "red"
