"""The market that runs on this machine, as the command line finds it: its URL and its local identities."""

import json
from dataclasses import dataclass
from pathlib import Path

from gridbay.cli.account_file import Account
from gridbay.standalone.state import MarketState


@dataclass(frozen=True, slots=True)
class EmbeddedMarket:
    """One that is up: rpc_url is its own chain's."""

    state_dir: Path
    rpc_url: str
    account: Account


def market_here(account: Account) -> EmbeddedMarket | None:
    """The market on this machine, if it is the one of that login."""
    found = running_market(Path(account.state) if account.state else None)
    return found if found is not None and found.account.url == account.url else None


def running_market(state_dir: Path | None = None) -> EmbeddedMarket | None:
    """The market that runs on a state folder (the default one), if all of it is up and its credentials are ours."""
    state = MarketState.locate(state_dir)
    try:
        if state.holder() is None:
            return None
        facts = state.read_running().get("facts")
        if not facts:
            return None
        known = json.loads((state.root / "credentials.json").read_text())
        tokens = {kind: known[f"{kind}_token"] for kind in ("customer", "provider", "operator")}
        return EmbeddedMarket(
            state.root, facts["rpc_url"], Account(facts["public_url"], **tokens, state=str(state.root))
        )
    except (OSError, ValueError, KeyError):
        # Another person's market, or one that is just stopping: then there is none for us.
        return None
