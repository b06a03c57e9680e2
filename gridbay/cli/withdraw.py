"""`gridbay withdraw` and `gridbay withdrawals`: available USDC back to a wallet of one's own."""

import time
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, harmless
from gridbay.cli.embedded import market_here
from gridbay.cli.extras import need_embedded
from gridbay.cli.listing import Column, show, show_one
from gridbay.cli.session import Session, open_market, open_session
from gridbay.client.sdk import Gridbay
from market.errors import InvalidInput
from market.funds_api import WithdrawalView
from market.money import parse_usdc

app = typer.Typer()
withdrawals_app = typer.Typer(no_args_is_help=True)
ALL = "all"
GOES_ON = ("waiting", "sending")
LOOK_SECONDS, WAIT_SECONDS = 0.5, 120.0
Withdrawal = Annotated[str, typer.Argument(help="Its id, wdr_...", show_default=False)]


def _cools_down(found: WithdrawalView) -> bool:
    return found.state == "waiting" and found.payable_from > found.created_at


def _detail(found: WithdrawalView) -> str:
    if _cools_down(found):
        return f"not before {found.payable_from:%Y-%m-%d %H:%M} UTC: the wallet is new here"
    return found.detail


COLUMNS = (
    Column("WITHDRAWAL", lambda each: each.withdrawal_id, rank=0),
    Column("AMOUNT", lambda each: each.amount.usdc, right=True, rank=0),
    Column("STATE", lambda each: each.state, rank=0),
    Column("TO", lambda each: each.wallet_address, rank=2),
    Column("ASKED FOR", lambda each: wording.moment(each.created_at), rank=1),
    Column("DETAIL", _detail, wraps=True, rank=1),
)


@app.command()
def withdraw(
    amount: Annotated[str, typer.Argument(help="USDC, such as 5 or 0.50; or all", show_default=False)],
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", help="A Solana wallet of yours; on your own embedded market its test wallet."),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it; 0 does not.")] = WAIT_SECONDS,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take available USDC back to a wallet of yours.

    What is held for jobs stays. A wallet that is new here waits for a day, in which it can be cancelled.
    """
    session = open_session()
    with open_market(session=session) as market:
        address = to or _local_wallet(session)
        asked = market.balance().available.microusd if amount == ALL else _parsed(amount)
        if asked == 0:
            raise InvalidInput("0 USDC are nothing to withdraw", remedy="see: gridbay balance")
        made = market.withdraw(asked, address)
        if wait and made.state in GOES_ON and not _cools_down(made):
            made = _wait(market, made, wait)
        if output is Output.TABLE:
            print(_said(made))
            return
    show_one(made, _rows(made), output, name=made.withdrawal_id)


@withdrawals_app.callback()
def withdrawals() -> None:
    """List withdrawals, show one, or cancel one that still waits."""


@withdrawals_app.command("list")
def list_withdrawals(output: OutputOption = Output.TABLE) -> None:
    """List the organization's withdrawals, newest first."""
    with open_market() as market:
        found = market.withdrawals()
    if not found and output is Output.TABLE:
        print("nothing was withdrawn yet: gridbay withdraw AMOUNT --to ADDRESS")
        return
    show(found, COLUMNS, output, name=lambda each: each.withdrawal_id)


@withdrawals_app.command("show")
def show_withdrawal(withdrawal: Withdrawal, output: OutputOption = Output.TABLE) -> None:
    """Show what became of one."""
    with open_market() as market:
        found = market.withdrawal(withdrawal)
    show_one(found, _rows(found), output, name=found.state)


@withdrawals_app.command("cancel")
def cancel_withdrawal(withdrawal: Withdrawal) -> None:
    """Give back what still waits; what is on its way cannot be called back."""
    with open_market() as market:
        found = market.cancel_withdrawal(withdrawal)
    print(f"{found.withdrawal_id} is cancelled; {found.amount.usdc} USDC are available again")


def _parsed(amount: str) -> int:
    try:
        return parse_usdc(amount)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _local_wallet(session: Session) -> str:
    embedded = market_here(session.account)
    if embedded is None:
        raise InvalidInput("to which wallet?", remedy="say --to with the Solana address of a wallet of yours")
    with need_embedded():
        # The chain's libraries: only the machine of an embedded market has them.
        from gridbay.cli.local_wallet import LocalWallet  # noqa: PLC0415
    with LocalWallet(embedded.rpc_url, embedded.state_dir / "wallet.json") as wallet:
        return wallet.address


def _wait(market: Gridbay, made: WithdrawalView, seconds: float) -> WithdrawalView:
    """The withdrawal once it is over, or as it is then: it goes on by itself."""
    until = time.monotonic() + seconds
    while made.state in GOES_ON and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        made = market.withdrawal(made.withdrawal_id)
    return made


def _said(found: WithdrawalView) -> str:
    """How it stands, in a line."""
    amount = f"{found.amount.usdc} USDC"
    if found.state == "confirmed":
        kept = f", {found.rent.usdc} of them kept for making its token account" if found.rent.microusd else ""
        return f"{amount} are sent to {found.wallet_address}{kept}: {found.signature}"
    if found.state == "returned":
        return f"{amount} are available again: {harmless(found.detail)}"
    if _cools_down(found):
        return (
            f"{found.withdrawal_id}: {amount} wait until {found.payable_from:%Y-%m-%d %H:%M} UTC, since the wallet is "
            f"new here; if this was not you: gridbay withdrawals cancel {found.withdrawal_id}"
        )
    return f"{found.withdrawal_id}: {amount} are {found.state}; see: gridbay withdrawals show {found.withdrawal_id}"


def _rows(found: WithdrawalView) -> list[tuple[str, str]]:
    return [
        ("withdrawal", found.withdrawal_id),
        ("amount", f"{found.amount.usdc} USDC"),
        ("kept", f"{found.rent.usdc} USDC for making the wallet's token account" if found.rent.microusd else ""),
        ("to", found.wallet_address),
        ("state", found.state),
        ("detail", _detail(found)),
        ("asked for", wording.moment(found.created_at)),
        ("signature", found.signature or ""),
    ]
