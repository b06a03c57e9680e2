"""`gridbay secrets`: values that jobs get as environment variables and nobody sees again."""

import re
import sys
from typing import Annotated

import typer

from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import print_json
from gridbay.cli.session import open_market
from market.errors import InvalidInput

app = typer.Typer(no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The environment variable's name.", show_default=False)]


@app.callback()
def secrets() -> None:
    """Store secrets for jobs that name them."""


@app.command("set")
def set_secret(name: Name) -> None:
    """Store a secret; its value is asked for, unseen, or read from stdin."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", name):
        raise InvalidInput(
            f"{name!r} is not the name of a variable: use letters, digits and `_`, no digit first",
            remedy="gridbay secrets set NAME; its value is asked for, or read from stdin",
        )
    value = _value(name)
    with open_market() as market:
        market.set_secret(name, value)
    print(f"{name} is stored; a job gets it with `secrets: [{name}]`")


@app.command("list")
def list_secrets(output: OutputOption = Output.TABLE) -> None:
    """List the names of the stored secrets."""
    with open_market() as market:
        names = market.secret_names()
    if output is Output.JSON:
        print_json(names)
    elif names or output is Output.QUIET:
        for name in names:
            print(name)
    else:
        print("no secret is stored: gridbay secrets set NAME")


@app.command("remove")
def remove_secret(name: Name) -> None:
    """Forget a secret."""
    with open_market() as market:
        market.remove_secret(name)
    print(f"{name} is forgotten")


def _value(name: str) -> str:
    """Never from the command line, where every user of the machine could read it."""
    if sys.stdin.isatty():
        return str(typer.prompt(f"Value of {name}", hide_input=True, err=True))
    value = sys.stdin.read().removesuffix("\n")
    if not value:
        raise InvalidInput("the secret is empty", remedy=f"printf %s VALUE | gridbay secrets set {name}")
    return value
