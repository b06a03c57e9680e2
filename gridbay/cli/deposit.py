"""`gridbay deposit`: how to pay in, and the waiting; a market on this machine is paid by itself, in test money."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli.console import Output, OutputOption, remarks, results
from gridbay.cli.embedded import market_here
from gridbay.cli.extras import need_embedded
from gridbay.cli.listing import facts, print_json
from gridbay.cli.session import open_market, open_session
from gridbay.client.sdk import Gridbay
from market.errors import InvalidInput, Unavailable
from market.funds_api import DepositView
from market.money import parse_usdc

app = typer.Typer()
CREDITED, WAITING = "credited", "waiting"
LOOK_SECONDS = 0.25
LOOK_SECONDS_MAX = 2.0
WAIT_SECONDS = 900.0


@app.command()
def deposit(
    amount: Annotated[str, typer.Argument(help="USDC, such as 5 or 0.50", show_default=False)],
    *,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it; 0 does not.")] = WAIT_SECONDS,
    output: OutputOption = Output.TABLE,
) -> None:
    """Pay USDC in: shows how, and waits for it.

    On a market that runs on this machine a local wallet pays at once, with test money of its own chain.
    """
    try:
        amount_microusd = parse_usdc(amount)
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    if amount_microusd == 0:
        raise InvalidInput("0 USDC are nothing to pay in", remedy="gridbay deposit 5")
    session = open_session()
    with open_market(session=session) as market:
        wanted = market.deposit(amount_microusd)
        embedded = market_here(session.account)
        if embedded is not None:
            signature = pay_locally(wanted, embedded.rpc_url, embedded.state_dir)
            remarks().print(f"paid with test money by this machine's wallet: {signature}", markup=False)
        elif output is Output.TABLE:
            results().print(facts(_how_to_pay(wanted)))
        if wait:
            wanted = wait_credited(market, wanted, wait)
        if output is Output.JSON:
            print_json(wanted.model_dump(mode="json"))
        elif output is Output.QUIET:
            print(wanted.deposit_id)
        elif wanted.state == CREDITED:
            available = market.balance().available.usdc
            print(f"{wanted.amount.usdc} USDC are credited; {available} USDC are available")
        elif wait:
            print(f"{wanted.deposit_id} is {wanted.state}: nothing was paid in time")


def pay_locally(wanted: DepositView, rpc_url: str, state_dir: Path) -> str:
    """Pay a deposit from the state folder's own wallet; the signature."""
    with need_embedded():
        # The chain's libraries: only the machine of an embedded market has them.
        from gridbay.cli.local_wallet import LocalWallet  # noqa: PLC0415
    with LocalWallet(rpc_url, state_dir / "wallet.json") as wallet:
        return wallet.pay(wanted)


def wait_credited(market: Gridbay, wanted: DepositView, seconds: float) -> DepositView:
    """The deposit once it is credited. Raises Unavailable; it is credited all the same when it comes later."""
    until, pause = time.monotonic() + seconds, LOOK_SECONDS
    while wanted.state == WAITING:
        if time.monotonic() > until:
            raise Unavailable(
                f"{wanted.deposit_id} is not paid after {seconds:g} s (state: {wanted.state})",
                remedy="it is credited whenever the payment is final; see: gridbay balance",
            )
        time.sleep(pause)
        pause = min(pause * 1.3, LOOK_SECONDS_MAX)
        wanted = market.deposit_status(wanted.deposit_id)
    return wanted


def _how_to_pay(wanted: DepositView) -> list[tuple[str, str]]:
    return [
        ("deposit", wanted.deposit_id),
        ("pay", f"{wanted.amount.usdc} USDC"),
        ("to", wanted.recipient),
        ("mint", wanted.mint),
        ("reference", wanted.reference),
        ("memo", wanted.memo),
        ("Solana Pay", wanted.solana_pay_url),
        ("then", "it is credited once the chain has finalized it; Ctrl-C ends only the waiting"),
    ]
