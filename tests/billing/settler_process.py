"""A settler in a process of its own, to be killed: one pass at a moment that is given.

python settler_process.py DATABASE_URL CHAIN_URL KEYPAIR MINT NOW
"""

import sys
from datetime import datetime
from pathlib import Path

from billing.chains.keypairs import load_keypair
from billing.chains.solana import SolanaChain
from billing.settling.settlement import Settler
from billing.treasury.custody import Custody
from gridbay.processes.contexts import TABLES
from infra.database import Database
from market.clock import ManualClock

if __name__ == "__main__":
    assert TABLES
    database_url, chain_url, keypair, mint, now = sys.argv[1:]
    custody = Custody(load_keypair(Path(keypair)), mint)
    Settler(Database(database_url), SolanaChain([chain_url]), custody, ManualClock(datetime.fromisoformat(now))).run()
