"""`gridbay allowance`: jobs paid from a token account of one's own, which the market may take from up to a cap."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, harmless, remarks
from gridbay.cli.embedded import market_here
from gridbay.cli.extras import need_embedded
from gridbay.cli.listing import Column, show, show_one
from gridbay.cli.session import Session, open_market, open_session
from gridbay.client.sdk import Gridbay
from market.errors import InvalidInput, NotFound, Unavailable
from market.funds_api import AllowanceView
from market.money import format_usdc, parse_usdc

if TYPE_CHECKING:
    from gridbay.cli.token_wallet import TokenWallet

app = typer.Typer(no_args_is_help=True)
KEEP = "1"
LOOK_SECONDS, WAIT_SECONDS = 0.5, 120.0
Keypair = Annotated[
    Path | None,
    typer.Option("--keypair", help="The owner's Solana keypair file; on your own embedded market its test wallet."),
]
Rpc = Annotated[str | None, typer.Option("--rpc", help="The Solana RPC to send by, with --keypair.")]

PULL_COLUMNS = (
    Column("PULL", lambda each: each.pull_id, rank=1),
    Column("AMOUNT", lambda each: each.amount.usdc, right=True, rank=0),
    Column("STATE", lambda each: each.state, rank=0),
    Column("OPENED", lambda each: wording.moment(each.created_at), rank=0),
    Column("FROM", lambda each: each.token_account, rank=2),
    Column("DETAIL", lambda each: each.detail, wraps=True, rank=1),
)


@app.callback()
def allowance() -> None:
    """Have jobs paid from a token account of your own.

    You approve the market as its delegate, up to an amount; it pulls what your jobs need, shortly before they need it.
    """


@app.command()
def approve(
    amount: Annotated[str, typer.Argument(metavar="USDC", help="The most that is ever pulled.", show_default=False)],
    *,
    keep: Annotated[str | None, typer.Option("--keep", help="USDC to keep available, for jobs to start.")] = None,
    daily: Annotated[str | None, typer.Option("--daily", help="The most USDC that is pulled in 24 hours.")] = None,
    keypair: Keypair = None,
    rpc: Rpc = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it; 0 does not.")] = WAIT_SECONDS,
    output: OutputOption = Output.TABLE,
) -> None:
    """Approve the market on the chain, up to an amount, and register the account; or approve anew, or more.

    Without a keypair it shows what to approve with a wallet of yours.
    """
    cap = _usdc(amount)
    if cap == 0:
        raise InvalidInput("0 USDC approve nothing", remedy="to take an approval back: gridbay allowance revoke")
    session = open_session()
    with open_market(session=session) as market:
        wanted = _terms(market, keep, daily)
        wallet = _wallet(session, keypair, rpc, cap)
        if wallet is None:
            print(f"approve {format_usdc(cap)} USDC with your wallet, then: gridbay allowance register SIGNATURE")
            show_one(wanted, _how(wanted, cap), output, name=wanted.allowance_id)
            return
        signature = wallet.approve(wanted, cap)
        remarks().print(f"approved {format_usdc(cap)} USDC: {signature}", markup=False)
        if wanted.state == "waiting":
            wanted = _registered(market, signature, wait)
    show_one(wanted, _rows(wanted), output, name=wanted.allowance_id)


@app.command()
def register(
    signature: Annotated[str, typer.Argument(help="Of the transaction that approved.", show_default=False)],
    *,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for it; 0 does not.")] = WAIT_SECONDS,
    output: OutputOption = Output.TABLE,
) -> None:
    """Name the transaction by which your wallet approved, with the memo of `approve`: it proves whose account it is."""
    with open_market() as market:
        found = _registered(market, signature, wait)
    show_one(found, _rows(found), output, name=found.allowance_id)


@app.command("show")
def show_allowance(output: OutputOption = Output.TABLE) -> None:
    """Show the allowance, what may still be pulled, and what is in the way."""
    with open_market() as market:
        found = market.allowance()
    show_one(found, _rows(found), output, name=found.state)


@app.command()
def pulls(output: OutputOption = Output.TABLE) -> None:
    """List what was pulled, newest first."""
    with open_market() as market:
        found = market.pulls()
    if not found and output is Output.TABLE:
        print("nothing was pulled yet: it is when less is available than `gridbay allowance show` keeps")
        return
    show(found, PULL_COLUMNS, output, name=lambda each: each.pull_id)


@app.command()
def terms(
    keep: Annotated[str | None, typer.Option("--keep", help="USDC to keep available, for jobs to start.")] = None,
    daily: Annotated[str | None, typer.Option("--daily", help="The most USDC that is pulled in 24 hours.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change how much is kept available, and the most that is pulled in a day."""
    with open_market() as market:
        market.allowance()
        found = _terms(market, keep, daily)
    show_one(found, _rows(found), output, name=found.allowance_id)


@app.command("revoke")
def revoke(keypair: Keypair = None, rpc: Rpc = None) -> None:
    """End the allowance at the market, and revoke on the chain where the keypair is at hand."""
    session = open_session()
    with open_market(session=session) as market:
        found = market.allowance()
        wallet = _wallet(session, keypair, rpc, None) if found.token_account is not None else None
        market.end_allowance()
        if wallet is not None and found.token_account is not None:
            print(f"revoked on the chain: {wallet.revoke(found.token_account)}")
    print("the allowance has ended: nothing more is pulled but what is on its way")
    if wallet is None and found.token_account is not None:
        print(f"on the chain the approval stands until you revoke it: spl-token revoke {found.token_account}")


def _terms(market: Gridbay, keep: str | None, daily: str | None) -> AllowanceView:
    """What is said now, and for what is not said, what was said before."""
    try:
        found = market.allowance()
        kept, most = found.keep.microusd, found.daily_max.microusd
    except NotFound:
        kept, most = _usdc(KEEP), None
    return market.set_allowance(kept if keep is None else _usdc(keep), most if daily is None else _usdc(daily))


def _wallet(session: Session, keypair: Path | None, rpc: str | None, fund_microusd: int | None) -> "TokenWallet | None":
    """Whose keypair is at hand. The test wallet of a market on this machine is given what it approves."""
    local = market_here(session.account)
    if keypair is None and local is None:
        return None
    rpc_url = rpc or (local.rpc_url if local is not None else None)
    if rpc_url is None:
        raise InvalidInput("by which Solana RPC?", remedy="say --rpc https://...")
    with need_embedded():
        # The chain's libraries: not every customer has them.
        from gridbay.cli.local_wallet import LocalWallet  # noqa: PLC0415
        from gridbay.cli.token_wallet import TokenWallet  # noqa: PLC0415
    if keypair is not None or local is None:
        assert keypair is not None
        return TokenWallet(rpc_url, keypair)
    path = local.state_dir / "wallet.json"
    if fund_microusd is not None:
        with LocalWallet(local.rpc_url, path) as wallet:
            wallet.fund(fund_microusd)
    return TokenWallet(local.rpc_url, path)


def _registered(market: Gridbay, signature: str, seconds: float) -> AllowanceView:
    """The allowance once it is active, or as it is then. Raises InvalidInput if the approval proves nothing."""
    found = market.offer_approval(signature)
    until = time.monotonic() + seconds
    # Active, it is read a moment later.
    while found.read_at is None and not found.detail and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        found = market.allowance()
    if found.state == "waiting" and found.detail:
        raise InvalidInput(found.detail, remedy="approve again: gridbay allowance approve AMOUNT")
    if found.state == "waiting" and seconds:
        raise Unavailable(
            f"{signature} is not final after {seconds:g} s",
            remedy="it is registered once it is; see: gridbay allowance show",
        )
    return found


def _usdc(text: str) -> int:
    try:
        return parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _how(wanted: AllowanceView, cap: int) -> list[tuple[str, str]]:
    command = f"spl-token approve TOKEN_ACCOUNT {format_usdc(cap)} {wanted.delegate} --with-memo {wanted.memo!r}"
    return [
        ("delegate", wanted.delegate),
        ("mint", wanted.mint),
        ("memo", wanted.memo),
        ("such as", command),
    ]


def _rows(found: AllowanceView) -> list[tuple[str, str]]:
    read = f", as of {wording.moment(found.read_at)}" if found.read_at is not None else ""
    return [
        ("allowance", found.allowance_id),
        ("state", found.state),
        ("token account", found.token_account or "not proven yet"),
        ("owner", found.owner or ""),
        ("delegate", found.delegate),
        ("pullable", f"{found.pullable.usdc} USDC{read}"),
        ("  approved still", f"{found.delegated.usdc} USDC"),
        ("  in the account", f"{found.balance.usdc} USDC"),
        ("kept available", f"{found.keep.usdc} USDC"),
        ("most in a day", f"{found.daily_max.usdc} USDC"),
        ("in the way", harmless(found.detail)),
    ]
