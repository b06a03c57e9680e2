"""FAULTS.md row 15 with kill -9: a settler that dies at each of its failpoints pays nobody twice and nobody never."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from allowance_till import Till
from awaiting import until
from local_net import LocalNet
from soak_size import KILLS_A_POINT, size, write_figures
from test_settlement import EARNED, earn, fill_treasury, paid, recipient, settle_all

from billing.ledger import audit
from billing.settling.settlement import sender_lock
from infra.database import Database
from market.clock import ManualClock
from market.failpoints import POINTS

PROGRAM = Path(__file__).with_name("settler_process.py")
KILLS = size(1, KILLS_A_POINT)
"""Of each point; each is a payout of its own."""


@pytest.fixture
def ends(database: Database, clock: ManualClock, net: LocalNet) -> Iterator[Callable[[str], int]]:
    """How a settler ends that makes one pass now, armed with that."""
    url = database.engine.url.render_as_string(hide_password=False)
    key = str(net.server.market.treasury_keypair_path)
    command = [sys.executable, str(PROGRAM), url, net.url, key, net.mint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as settlers:
        assert settlers.stdin is not None and settlers.stdout is not None
        order = partial(print, file=settlers.stdin, flush=True)

        def ends(failpoints: str) -> int:
            order(clock.now().isoformat(), failpoints)
            return int(settlers.stdout.readline())

        yield ends
        settlers.stdin.close()
        assert settlers.wait(20) == 0


def nobody_sends(database: Database) -> bool:
    """A server ends a dead client's session, and the lock with it, only when it next looks at the socket."""
    with sender_lock(database) as alone:
        return alone


@pytest.mark.timeout(7200 if KILLS > 1 else 120)
@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("settlement.")])
def test_a_settler_that_is_killed_pays_each_payout_once(
    database: Database, clock: ManualClock, net: LocalNet, ends: Callable[[str], int], point: str
) -> None:
    fill_treasury(net, 2 * EARNED * KILLS)
    owner = recipient(net)
    for number in range(1, KILLS + 1):
        earn(database, clock, net, [owner])
        assert ends(f"{point}=kill") == -9
        until(partial(nobody_sends, database), "the database has seen that the settler is dead")
        settle_all(database, clock, net)
        assert paid(net, owner) == 1 + number * EARNED
    with database.read() as session:
        assert audit.check(session) == []
    write_figures(point, {"kills": KILLS, "payouts": KILLS, "wrongly_paid": 0})


@pytest.mark.timeout(7200 if KILLS > 1 else 120)
@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("settlement.")])
def test_a_settler_that_is_killed_pulls_once_and_credits_once(
    database: Database, clock: ManualClock, net: LocalNet, ends: Callable[[str], int], point: str
) -> None:
    step = 100_000
    purse = KILLS * step
    till = Till(database, clock, net, purse)
    till.open(keep=0, amount=purse)
    for number in range(1, KILLS + 1):
        till.ask(keep=number * step)
        till.look()
        assert ends(f"{point}=kill") == -9
        until(partial(nobody_sends, database), "the database has seen that the settler is dead")
        till.pull()
        assert till.available() == purse - till.held == number * step
    till.check()
    write_figures(f"{point}, pulls", {"kills": KILLS, "pulls": KILLS, "wrongly_pulled": 0})
