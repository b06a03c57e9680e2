"""FAULTS.md row 15 with kill -9: a settler that dies at each of its failpoints pays nobody twice and nobody never."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_net import LocalNet
from soak_size import size
from test_settlement import EARNED, earn, fill_treasury, paid, recipient, settle_all

from billing.ledger import audit
from infra.database import Database
from market.clock import ManualClock
from market.failpoints import POINTS, VARIABLE

PROGRAM = Path(__file__).with_name("settler_process.py")
KILLS = size(1, 40)
"""Of each point; each is a payout of its own."""


@pytest.mark.timeout(7200 if KILLS > 1 else 120)
@pytest.mark.parametrize("point", [name for name in POINTS if name.startswith("settlement.")])
def test_a_settler_that_is_killed_pays_each_payout_once(
    database: Database, clock: ManualClock, net: LocalNet, point: str
) -> None:
    fill_treasury(net, 2 * EARNED * KILLS)
    owner = recipient(net)
    for number in range(1, KILLS + 1):
        earn(database, clock, net, [owner])
        assert _killed_at(point, database, clock, net) == -9
        settle_all(database, clock, net)
        assert paid(net, owner) == 1 + number * EARNED
    with database.read() as session:
        assert audit.check(session) == []


def _killed_at(point: str, database: Database, clock: ManualClock, net: LocalNet) -> int:
    """The exit status of a settler that is armed with it."""
    url = database.engine.url.render_as_string(hide_password=False)
    key = str(net.server.market.treasury_keypair_path)
    command = [sys.executable, str(PROGRAM), url, net.url, key, net.mint, clock.now().isoformat()]
    return subprocess.run(command, env={**os.environ, VARIABLE: f"{point}=kill"}, timeout=60, check=False).returncode
