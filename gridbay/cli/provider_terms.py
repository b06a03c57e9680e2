"""`gridbay provider terms`, `drain` and `resume`: what is said of a node beside its prices."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer
from pydantic import ValidationError

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.listing import facts, print_json
from gridbay.cli.provider_account import choose_node, open_provider
from market.errors import InvalidInput
from market.specs import parse_tolerance
from market.terms_api import NodeTermsView

terms_app = typer.Typer()
drain_app = typer.Typer()
resume_app = typer.Typer()
NodeName = Annotated[str | None, typer.Option("--node", help="Its id or name; not needed with one node.")]
ANY_TIME, NEVER, NO = "any-time", "never", "no"


@terms_app.command()
def say_terms(
    *,
    node: NodeName = None,
    region: Annotated[str | None, typer.Option("--region", help="Where it stands, such as eu-west.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label jobs may ask for; repeat it.")] = None,
    taint: Annotated[
        list[str] | None, typer.Option("--taint", help="Only jobs that tolerate it come; repeat it.")
    ] = None,
    opens: Annotated[
        list[str] | None,
        typer.Option("--open", help=f'Such as "Mon-Fri 19:00-07:00" (UTC); repeat it, or say {ANY_TIME}.'),
    ] = None,
    ends_at: Annotated[
        str | None, typer.Option("--ends-at", help=f"Nothing runs past it: 2027-01-31T00:00Z, or {NEVER}.")
    ] = None,
    spot: Annotated[
        str | None,
        typer.Option("--spot", help=f"Spot jobs from such a part of its prices on: 40%, or {NO}: none of them."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say where a node stands, what it is called, whom it is for and when; shows it without options."""
    changes: dict[str, object] = {
        "region": region,
        "labels": label,
        "taints": taint,
        "open": [] if opens == [ANY_TIME] else opens,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if ends_at is not None:
        changes["ends_at"] = None if ends_at == NEVER else _moment(ends_at)
    if spot is not None:
        changes |= {"spot": False} if spot == NO else {"spot": True, "spot_floor_milli": _part(spot)}
    name, said = _change(node, lambda terms: {**terms.model_dump(), **changes} if changes else None)
    if output is Output.JSON:
        print_json(said.model_dump(mode="json"))
        return
    rows = [
        ("node", name),
        ("region", said.region or "not said"),
        ("labels", ", ".join(said.labels)),
        ("taints", ", ".join(said.taints)),
        ("open", ", ".join(said.open) or "always"),
        ("ends", wording.moment(said.ends_at) if said.ends_at else NEVER),
        ("spot jobs", f"from {said.spot_floor_milli / 10:g}% of its prices on" if said.spot else NO),
        ("draining", "yes: gridbay provider resume" if said.draining else "no"),
    ]
    results().print(facts(rows))


@drain_app.command()
def drain(node: NodeName = None) -> None:
    """Take no new work on a node; what runs there runs on."""
    name, _ = _change(node, lambda terms: {**terms.model_dump(), "draining": True})
    print(f"{name} takes no new work")


@resume_app.command()
def resume(node: NodeName = None) -> None:
    """Take work again on a node that was drained."""
    name, _ = _change(node, lambda terms: {**terms.model_dump(), "draining": False})
    print(f"{name} takes work")


def _change(node: str | None, change: Callable[[NodeTermsView], dict[str, object] | None]) -> tuple[str, NodeTermsView]:
    """The node's name, and what is said of it after a change; None changes nothing."""
    with open_provider() as provider:
        its = choose_node(provider.nodes(), node)
        terms = provider.terms(its.node_id)
        wanted = change(terms)
        if wanted is not None:
            try:
                checked = NodeTermsView.model_validate(wanted)
            except ValidationError as error:
                raise InvalidInput("; ".join(fault["msg"] for fault in error.errors(include_url=False))) from None
            terms = provider.set_terms(its.node_id, checked)
    return its.name, terms


def _part(text: str) -> int:
    try:
        return parse_tolerance(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no part of a price: write it like 40%, 100% at most, or {NO}") from None


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no moment: write it like 2027-01-31T00:00Z") from None
