"""`gridbay login`: stores a market's URL and a token, after the market has accepted it."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli.account_file import Account, kind_of, load_account, save_account
from gridbay.cli.embedded import running_market
from gridbay.cli.session import tell_retry
from gridbay.client.operator import Operator
from gridbay.client.provider import Provider
from gridbay.client.sdk import Gridbay
from market.errors import InvalidInput, NotFound

app = typer.Typer()


@app.command()
def login(
    url: Annotated[str | None, typer.Option("--url", help="The market's address.", show_default=False)] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="The token; asked for, unseen, if left out.", show_default=False)
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="The market that runs on this state folder here.", show_default=False),
    ] = None,
) -> None:
    """Store the URL and token of a market.

    Customers' tokens begin with gbc_, providers' with gbp_, operators' with gbo_; one of each can be stored.
    """
    if state is not None:
        _to_embedded(state)
        return
    stored = load_account()
    url = url or (stored.url if stored else None) or _asked("URL of the market: ")
    # Not typer.prompt: its default would show a token that was typed before.
    token = (token or _hidden("Token: ")).strip()
    kind = kind_of(token)
    who = _who(url.rstrip("/"), token, kind)
    # Tokens of one market must never be sent to another.
    account = stored if stored is not None and stored.url == url.rstrip("/") else Account(url.rstrip("/"))
    path = save_account(replace(account, **{kind: token}))
    print(f"logged in at {account.url} as {who} (stored in {path})")


def _to_embedded(state: Path) -> None:
    """All three identities of a market on this machine."""
    embedded = running_market(state)
    if embedded is None:
        raise NotFound(f"no market runs on {state}", remedy=f"gridbay up --state {state}")
    path = save_account(embedded.account)
    print(f"logged in at {embedded.account.url} as its owner (stored in {path})")


def _who(url: str, token: str, kind: str) -> str:
    """In words, from the market itself; its refusal comes through."""
    if kind == "customer":
        with Gridbay(url, token, on_retry=tell_retry) as market:
            me = market.me()
            return f"{me.role} of {me.organization_name} ({me.organization_id})"
    if kind == "provider":
        with Provider(url, token, on_retry=tell_retry) as provider:
            count = len(provider.nodes())
            return f"a provider with {count} node{'' if count == 1 else 's'}"
    with Operator(url, token, on_retry=tell_retry) as operator:
        operator.overview()
        return "an operator"


def _asked(question: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInput("which market?", remedy="gridbay login --url URL --token TOKEN")
    return str(typer.prompt(question.rstrip(": "), err=True))


def _hidden(question: str) -> str:
    if not sys.stdin.isatty():
        # So that a token can be piped in and never stands on a command line.
        return sys.stdin.readline()
    return str(typer.prompt(question.rstrip(": "), hide_input=True, err=True))
