"""The ledger balances, never changes, never goes below zero, and happens once: the database says so itself."""

from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from books import Books
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.ledger.posting import LedgerError, Transfer
from infra.database import Database

ALICE, BOB = accounts.available("org_A"), accounts.available("org_B")


def grant(key: str, to: str, amount: int) -> Transfer:
    return Transfer(key, {accounts.TREASURY: -amount, to: amount})


@pytest.fixture(params=[0, posting.COPIED_LEGS_MIN], ids=["copied", "in one statement"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many entries are copied in, few go in one statement: nobody may see a difference."""
    monkeypatch.setattr(posting, "COPIED_LEGS_MIN", request.param)


def refused(session: Session, statement: str, because: str) -> None:
    with pytest.raises(DBAPIError, match=because), session.begin_nested():
        session.execute(text(statement))
        session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))


def test_a_transfer_moves_the_balances_of_its_accounts(session: Session) -> None:
    assert posting.post(session, [grant("a", ALICE, 5), grant("b", BOB, 7)]) == {"a", "b"}
    assert posting.balances(session, [ALICE, BOB, accounts.TREASURY]) == {ALICE: 5, BOB: 7, accounts.TREASURY: -12}


def test_a_transfer_that_was_posted_is_not_posted_again(session: Session) -> None:
    posting.post(session, [grant("a", ALICE, 5)])
    assert posting.post(session, [grant("a", ALICE, 5), grant("b", ALICE, 1)]) == {"b"}
    assert posting.balances(session, [ALICE]) == {ALICE: 6}
    with pytest.raises(LedgerError, match="posted with other entries"):
        posting.post(session, [grant("a", ALICE, 6)])


def test_what_does_not_balance_is_refused_by_us_and_by_the_database(session: Session) -> None:
    with pytest.raises(LedgerError, match="does not balance"):
        posting.post(session, [Transfer("a", {ALICE: 5, accounts.TREASURY: -4})])
    posting.post(session, [grant("a", ALICE, 5)])
    session.execute(text("INSERT INTO transfers (id, key) VALUES ('t', 't')"))
    one, two = f"('t', '{ALICE}', 1)", f"('t', '{accounts.TREASURY}', -2)"
    refused(session, f"INSERT INTO entries VALUES {one}, {two}", "does not balance")
    refused(session, f"INSERT INTO entries VALUES {one}", "does not balance")
    nobody = one.replace("'t'", "'u'"), two.replace("'t'", "'u'").replace("-2", "-1")
    refused(session, f"INSERT INTO entries VALUES {', '.join(nobody)}", "there is no transfer u")
    nowhere = two.replace(accounts.TREASURY, "nowhere").replace("-2", "-1")
    refused(session, f"INSERT INTO entries VALUES {one}, {nowhere}", "accounts of these entries do not exist")
    refused(session, "SELECT 1", "has no entries")


def test_nothing_that_was_written_changes(session: Session) -> None:
    posting.post(session, [grant("a", ALICE, 5), grant("b", BOB, 5)])
    refused(session, "UPDATE entries SET amount_microusd = -amount_microusd", "never changes")
    refused(session, "DELETE FROM entries", "never changes")
    refused(session, "TRUNCATE entries", "never changes")
    refused(session, "UPDATE transfers SET key = 'c'", "never changes")
    refused(session, "DELETE FROM transfers", "never changes")
    refused(session, "UPDATE accounts SET balance_microusd = balance_microusd + 1", "moved by entries alone")
    refused(session, "INSERT INTO accounts VALUES ('x', 'fees', 1)", "moved by entries alone")
    refused(session, "DELETE FROM accounts", "an account is kept")
    refused(session, "TRUNCATE accounts", "an account is kept")
    late = f"(SELECT id, '{accounts.FEES}', 1 FROM transfers WHERE key = 'a')"
    session.execute(text(f"INSERT INTO accounts (id, kind) VALUES ('{accounts.FEES}', 'fees'), ('x', 'fees')"))
    also = "(SELECT id, 'x', -1 FROM transfers WHERE key = 'a')"
    refused(session, f"INSERT INTO entries {late} UNION ALL {also}", "written once, together")


def test_no_balance_goes_below_zero(session: Session) -> None:
    posting.post(session, [grant("a", ALICE, 5)])
    with pytest.raises(DBAPIError, match="ck_accounts_sign"), session.begin_nested():
        posting.post(session, [Transfer("b", {ALICE: -6, BOB: 6})])
    with pytest.raises(DBAPIError, match="ck_accounts_sign"), session.begin_nested():
        posting.post(session, [Transfer("c", {ALICE: -5, BOB: -1, accounts.TREASURY: 6})])


Move = tuple[int, str, str, int]
moves = st.lists(
    st.tuples(st.integers(0, 5), *[st.sampled_from(["org_A", "org_B", "org_C"])] * 2, st.integers(-20, 20)), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(moves, max_size=4))
def test_any_sets_of_transfers_give_the_balances_of_a_plain_sum(
    fresh_books: Callable[[], Books], rounds: list[list[Move]]
) -> None:
    session = fresh_books().session
    model: dict[str, dict[str, int]] = {"start": {}}
    names = {owner: accounts.available(owner) for owner in ("org_A", "org_B", "org_C")}
    start = dict.fromkeys(names.values(), 1000)
    posting.post(session, [Transfer("start", start | {accounts.TREASURY: -3000})])
    for number, chosen in enumerate(rounds):
        transfers = {}
        for slot, giver, taker, amount in chosen:
            entries = {names[giver]: -amount, names[taker]: amount} if giver != taker else {names[giver]: 0}
            transfers[f"{number}.{slot}"] = Transfer(f"{number}.{slot}", entries)
        posting.post(session, list(transfers.values()))
        posting.post(session, list(transfers.values()))
        model |= {key: dict(transfer.entries) for key, transfer in transfers.items()}
    sums = {name: 1000 + sum(entries.get(name, 0) for entries in model.values()) for name in start}
    assert posting.balances(session, list(start)) == sums


def test_transactions_that_touch_the_same_accounts_wait_and_never_deadlock(database: Database) -> None:
    with database.transaction() as session:
        posting.post(session, [grant("start a", ALICE, 1000), grant("start b", BOB, 1000)])
    together = Barrier(4)
    failures: list[Exception] = []

    def work(name: int, giver: str, taker: str) -> None:
        together.wait(10)
        try:
            for number in range(15):
                with database.transaction() as session:
                    posting.post(session, [Transfer(f"{name}.{number}", {giver: -3, taker: 3})])
        except Exception as error:
            failures.append(error)

    threads = [Thread(target=work, args=(n, *((ALICE, BOB) if n % 2 else (BOB, ALICE)))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with database.read() as session:
        assert posting.balances(session, [ALICE, BOB]) == {ALICE: 1000, BOB: 1000}
