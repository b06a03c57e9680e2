"""`gridbay provider`: the commands of whoever offers machines, each loaded when it is run."""

import typer

from gridbay.cli.lazy import Commands, Entry, group_of

_MACHINE, _ACCOUNT = "This machine", "The provider"

ENTRIES = (
    Entry("join", "gridbay.cli.provider_join:app", "Check this machine and list it on a market.", _MACHINE),
    Entry("run", "gridbay.cli.provider_run:app", "Run the agent of a machine that has joined.", _MACHINE),
    Entry("doctor", "gridbay.cli.provider_doctor:app", "Go through the checklist of a provider's machine.", _MACHINE),
    Entry("status", "gridbay.cli.provider_account:status_app", "Show the provider's nodes and offers.", _ACCOUNT),
    Entry("price", "gridbay.cli.provider_account:price_app", "Change what is asked.", _ACCOUNT),
    Entry(
        "terms",
        "gridbay.cli.provider_terms:terms_app",
        "Say where a node stands, what it is called, whom it is for and when; shows it without options.",
        _ACCOUNT,
    ),
    Entry(
        "drain",
        "gridbay.cli.provider_terms:drain_app",
        "Take no new work on a node; what runs there runs on.",
        _ACCOUNT,
    ),
    Entry("resume", "gridbay.cli.provider_terms:resume_app", "Take work again on a node that was drained.", _ACCOUNT),
    Entry("earnings", "gridbay.cli.provider_account:earnings_app", "Show what was earned and paid.", _ACCOUNT),
    Entry("payouts", "gridbay.cli.provider_account:terms_app", "Say from how much on, and how often.", _ACCOUNT),
    Entry("wallet", "gridbay.cli.provider_account:wallet_app", "Show or say where payouts go.", _ACCOUNT),
    Entry("proofs", "gridbay.cli.provider_proofs:app", "Show where devices stand, and appeal a ban.", _ACCOUNT),
    Entry("circuit", "gridbay.cli.provider_proofs:circuit_app", "Say what the GPUs may draw at once.", _ACCOUNT),
    Entry("invite", "gridbay.cli.provider_account:invite_app", "Make a token by which machines join.", _ACCOUNT),
)

_app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False)


@_app.callback()
def provider() -> None:
    """Offer a machine, and see what it earns."""


app = group_of(_app, ENTRIES)
