"""Settlers in processes of their own, to be killed: each is forked from this one, which has loaded everything.

    python settler_process.py DATABASE_URL CHAIN_URL KEYPAIR MINT

Reads a line for each, `MOMENT FAILPOINTS`; runs one pass at that moment, and writes how the process ended.
"""

import os
import sys
from datetime import datetime
from pathlib import Path

from billing.chains.keypairs import load_keypair
from billing.chains.solana import SolanaChain
from billing.settling.settlement import Settler
from billing.treasury.custody import Custody
from gridbay.processes.contexts import TABLES
from infra.database import Database
from market import failpoints
from market.clock import ManualClock


def settle(now: str, armed: str) -> None:
    database_url, chain_url, keypair, mint = sys.argv[1:]
    custody = Custody(load_keypair(Path(keypair)), mint)
    os.environ[failpoints.VARIABLE] = armed
    failpoints.arm()
    Settler(Database(database_url), SolanaChain([chain_url]), custody, ManualClock(datetime.fromisoformat(now))).run()


def main() -> None:
    assert TABLES
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                settle(*line.split())
                status = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
