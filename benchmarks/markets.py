"""A market of one's own for a benchmark: started, funded, and gone without a trace at the end."""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from gridbay.cli.embedded import running_market
from gridbay.cli.local_wallet import LocalWallet
from gridbay.client import Gridbay
from gridbay.standalone.background import start_in_background
from gridbay.standalone.children import Tree
from gridbay.standalone.state import MarketState
from gridbay.standalone.tree import market

Found = TypeVar("Found")
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.05
DEPOSIT_MICROUSD = 1_000_000_000
BROKER_VARIABLE = "BENCH_BROKER_URL"
CONTROL_PLANE_TREE = "benchmarks.markets:control_plane"


@dataclass(frozen=True, slots=True)
class BenchMarket:
    """One that is up. pid: of `gridbay up`, above every process of it."""

    pid: int
    state_dir: Path
    address: str
    customer_token: str
    join_token: str
    sdk: Gridbay


def control_plane(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """The children of a market as `gridbay up` has them, but for the broker and the bus where the variable says so."""
    tree = market(state, ports, with_agent=with_agent)
    url = os.environ.get(BROKER_VARIABLE)
    other = {"GRIDBAY_BROKER_URL": url, "GRIDBAY_USAGE_BUS_URL": url} if url else {}
    if not with_agent:
        # Doubles have nothing to prove anything with.
        other["GRIDBAY_PROOFS"] = "0"
    children = (
        replace(child, env={**child.env, **other}) if "GRIDBAY_BROKER_URL" in child.env else child
        for child in tree.children
    )
    return Tree(tuple(children), secrets=tree.secrets)


@contextmanager
def running(*, with_agent: bool, broker_url: str | None = None) -> Iterator[BenchMarket]:
    """A market on a fresh folder with money to spend. Enter it in the main thread.

    broker_url: of a broker and usage bus to use instead of the market's own Valkey.
    """
    # Told to stop, it still cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with tempfile.TemporaryDirectory(prefix="gridbay-bench-") as home:
        state = Path(home) / "market"
        with _other_broker(broker_url):
            process = start_in_background(state, with_agent=with_agent, tree=CONTROL_PLANE_TREE)
        with process:
            facts = process.wait_ready(WAIT_SECONDS)
            known = json.loads(facts.credentials_file.read_text())
            with Gridbay(facts.public_url, known["customer_token"]) as sdk:
                _fund(sdk, state, DEPOSIT_MICROUSD)
                address = facts.public_url.removeprefix("http://")
                yield BenchMarket(process.pid, state, address, known["customer_token"], known["join_token"], sdk)


@contextmanager
def _other_broker(url: str | None) -> Iterator[None]:
    """What `control_plane` finds in the environment of the market that is being started."""
    if url is None:
        yield
        return
    os.environ[BROKER_VARIABLE] = url
    try:
        yield
    finally:
        del os.environ[BROKER_VARIABLE]


def until(look: Callable[[], Found | None], seconds: float = WAIT_SECONDS) -> Found:
    """What the look finds, once it finds something; the benchmark ends when that takes too long."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            sys.exit(f"nothing came within {seconds:g} s")
        time.sleep(LOOK_SECONDS)
    return found


def _fund(sdk: Gridbay, state: Path, amount_microusd: int) -> None:
    found = running_market(state)
    assert found is not None
    deposit = sdk.deposit(amount_microusd)
    with LocalWallet(found.rpc_url, state / "bench-wallet.json") as wallet:
        wallet.pay(deposit)
    until(lambda: sdk.deposit_status(deposit.deposit_id).state == "credited" or None)
