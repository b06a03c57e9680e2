"""As whom a command speaks to which market: the environment first, then the login, then the market that runs here."""

import os
import sys
from dataclasses import dataclass

from gridbay.cli.account_file import Account, load_account
from gridbay.cli.embedded import running_market
from gridbay.client.sdk import Gridbay
from market.errors import InvalidInput, Unauthenticated

PATIENCE_SECONDS = 5.0
"""Of a command that a person waits for: longer is only worth it where something is being watched."""
WATCHING_PATIENCE_SECONDS = 20.0
URL_VARIABLE, TOKEN_VARIABLE = "GRIDBAY_URL", "GRIDBAY_TOKEN"


@dataclass(frozen=True, slots=True)
class Session:
    """account: URL and tokens."""

    account: Account

    def token(self, kind: str) -> str:
        """Raises Unauthenticated if one is not logged in as that."""
        token = self.account.token(kind)
        if token is None:
            raise Unauthenticated(
                f"there is no {kind}'s token for {self.account.url}",
                remedy=f"gridbay login --url {self.account.url}",
            )
        return token


def open_session(kind: str = "customer") -> Session:
    """The session for a command of a customer, provider or operator.

    Raises Unauthenticated when there is neither a login nor a market on this machine.
    """
    url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if url and token:
        return Session(Account(url, **{kind: token}))
    if url or token:
        # Never the stored token for another market's URL.
        raise InvalidInput(f"set both {URL_VARIABLE} and {TOKEN_VARIABLE}, or neither")
    account = load_account()
    if account is not None:
        return Session(account)
    embedded = running_market()
    if embedded is None:
        raise Unauthenticated(
            "you are not logged in, and no market runs on this machine",
            remedy="gridbay login --url URL, or gridbay up for a market of your own",
        )
    sys.stderr.write(f"on this machine's own market, {embedded.account.url} (no login is stored)\n")
    return Session(embedded.account)


def open_market(patience_seconds: float | None = None, *, session: Session | None = None) -> Gridbay:
    """The market as a customer sees it; to be used in a `with` block."""
    session = session or open_session()
    return Gridbay(
        session.account.url,
        session.token("customer"),
        patience_seconds=PATIENCE_SECONDS if patience_seconds is None else patience_seconds,
        on_retry=tell_retry,
    )


_told: set[str] = set()


def tell_retry(why: str) -> None:
    """Say on stderr, once, why something takes longer."""
    if why not in _told:
        _told.add(why)
        sys.stderr.write(f"trying again: {why}\n")
