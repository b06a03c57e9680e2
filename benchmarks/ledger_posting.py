"""How fast balanced transfers are posted, invariants on, against a bare keyed COPY of the same entries (issue 5).

Both write the same entries to one durable PostgreSQL, in turn, with a commit for each batch; the baseline's rows are
ready text for COPY, and its table has the same columns and key. Ours is the ledger's own `post`: transfers and entries
by natural keys, accounts locked in order, balances moved, every trigger and constraint on.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from itertools import count

import psycopg
from sqlalchemy import text

from benchmarks.databases import durable_database
from billing.ledger import accounts
from billing.ledger.posting import Transfer, post
from infra.database import Database

BATCH, BATCHES = 2_000, 3
PAIRS, QUICK_PAIRS = 7, 2
ORGANIZATIONS, PROVIDERS = 500, 200
TARGET = 0.30
_numbers = count(1)
_SOUND = text(
    "SELECT (SELECT sum(balance_microusd) FROM accounts), (SELECT count(*) FROM entries), "
    "(SELECT count(*) FROM accounts a WHERE balance_microusd <> "
    "(SELECT coalesce(sum(amount_microusd), 0) FROM entries e WHERE e.account_id = a.id))"
)


def main() -> int:
    """Print a row per pair and one JSON line. Returns 1 where the target is missed or the books are wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--quick", action="store_true", help="two pairs: to see that it works")
    options = parser.parse_args()
    pairs = QUICK_PAIRS if options.quick else options.pairs
    with durable_database() as database:
        url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with database.transaction() as session:
            post(session, [_deposit(number) for number in range(ORGANIZATIONS)])
        with psycopg.connect(url) as bare:
            bare.execute("CREATE TABLE bare_entries (LIKE entries INCLUDING ALL)")
            bare.commit()
            found = [_pair(database, bare, pair) for pair in range(pairs)]
        with database.read() as session:
            imbalance, entries, wrong = session.execute(_SOUND).one()
    legs = 4 * BATCH * BATCHES
    ratio = statistics.median(copied / posted for copied, posted in found)
    exact = (imbalance, wrong, entries) == (0, 0, 2 * ORGANIZATIONS + pairs * legs)
    posted = BATCH * BATCHES / statistics.median(posted for _, posted in found)
    figures = {"postings_per_second": round(posted), "entries_per_posting": 4, "exact": exact}
    print(json.dumps({"name": "ledger_posting", "ratio": round(ratio, 3), "target": TARGET, **figures}))
    return 0 if exact and ratio >= TARGET else 1


def _pair(database: Database, bare: psycopg.Connection, pair: int) -> tuple[float, float]:
    """Seconds of the COPY and of the posting, of the same entries."""
    batches = [[_capture(next(_numbers)) for _ in range(BATCH)] for _ in range(BATCHES)]
    # Whoever goes first finds the server's caches cold: take turns.
    if pair % 2:
        copied, posted = _copy(bare, batches), _post(database, batches)
    else:
        posted, copied = _post(database, batches), _copy(bare, batches)
    print(f"{pair:>3}  COPY {copied:6.2f} s  posting {posted:6.2f} s  ratio {copied / posted:.2f}", end="  ")
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    return copied, posted


def _deposit(number: int) -> Transfer:
    amount = 10**12
    return Transfer(f"deposit:{number}", {accounts.TREASURY: -amount, accounts.available(f"org_{number:04}"): amount})


def _capture(number: int) -> Transfer:
    """As a captured window is posted, straight from what is available: four entries."""
    amount, fee = 900_001, 45_000
    return Transfer(
        f"capture:win_{number:026}",
        {
            accounts.available(f"org_{number % ORGANIZATIONS:04}"): -amount,
            accounts.payable(f"prv_{number % PROVIDERS:04}"): amount - fee - 1,
            accounts.FEES: fee,
            accounts.ROUNDING: 1,
        },
    )


def _post(database: Database, batches: Sequence[Sequence[Transfer]]) -> float:
    began = time.perf_counter()
    for batch in batches:
        with database.transaction() as session:
            post(session, batch)
    return time.perf_counter() - began


def _copy(bare: psycopg.Connection, batches: Sequence[Sequence[Transfer]]) -> float:
    texts = [
        "".join(
            f"xfer_{transfer.key[-26:]}\t{account}\t{amount}\n"
            for transfer in batch
            for account, amount in transfer.entries.items()
        ).encode()
        for batch in batches
    ]
    began = time.perf_counter()
    for rows in texts:
        statement = "COPY bare_entries (transfer_id, account_id, amount_microusd) FROM STDIN"
        with bare.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(rows)
        bare.commit()
    return time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
