"""What arrives on the chain under a deposit's reference is credited once; nothing else ever is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from books import CUSTODY, ORGANIZATION, Books
from hypothesis import given
from hypothesis import strategies as st
from local_net import LocalNet
from sqlalchemy import select
from test_settlement import Changed

from billing.chains.port import ChainTransaction, ChainUnavailable, Failure, TokenChange, TokenTransfer
from billing.ledger import audit, balances
from billing.tables.deposits import DepositRow
from billing.treasury import deposit_watch, deposits
from billing.treasury.arrivals import WHOLE_TRANSACTION, Arrival, arrivals
from billing.treasury.custody import Custody
from billing.treasury.deposits import WATCHED_FOR, Deposit, TooManyDeposits
from billing.treasury.sweep import sweep
from infra.database import Database
from market.clock import ManualClock
from market.errors import NotFound


def announce(database: Database, clock: ManualClock, net: LocalNet, amount: int, owner: str = ORGANIZATION) -> Deposit:
    with database.transaction() as session:
        return deposits.request(session, owner, amount, clock.now(), Custody(net.treasury_key, net.mint))


def watch(database: Database, clock: ManualClock, net: LocalNet) -> int:
    clock.advance(timedelta(seconds=10))
    return deposit_watch.watch(database, net.chain, clock)


def pending(database: Database) -> int:
    with database.read() as session:
        return balances.of_organization(session, ORGANIZATION).pending_microusd


def available(database: Database, owner: str = ORGANIZATION) -> int:
    with database.read() as session:
        return balances.of_organization(session, owner).available_microusd


def test_a_paid_deposit_is_credited_once_it_is_finalized(database: Database, clock: ManualClock, net: LocalNet) -> None:
    payer = net.wallet(5_000_000)
    asked = announce(database, clock, net, 2_000_000)
    assert (asked.state, asked.recipient, asked.mint) == ("waiting", net.treasury, net.mint)
    assert watch(database, clock, net) == 0
    wire = net.deposit(payer, 2_000_000, asked.reference, asked.memo)
    signature = net.chain.send(wire)
    net.blocks(1)
    assert watch(database, clock, net) == 0
    net.finalize()
    assert watch(database, clock, net) == 2_000_000
    assert pending(database) == 0
    assert watch(database, clock, net) == 0
    with database.read() as session:
        found = deposits.get(session, ORGANIZATION, asked.deposit_id)
        assert (found.state, found.credited_microusd, found.signature) == ("credited", 2_000_000, signature)
        assert audit.check(session) == []
    assert available(database) == 2_000_000


def test_what_is_seen_and_not_final_is_pending_and_no_more(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    payer = net.wallet(5_000_000)
    asked = announce(database, clock, net, 2_000_000)
    net.chain.send(net.deposit(payer, 2_000_000, asked.reference, asked.memo))
    net.blocks(2)
    assert watch(database, clock, net) == 0
    assert (available(database), pending(database)) == (0, 2_000_000)
    taken_back = Changed(net.chain, signatures_for_address=lambda *_, **__: [])
    clock.advance(timedelta(seconds=10))
    assert deposit_watch.watch(database, taken_back, clock) == 0
    assert pending(database) == 0, "the chain has taken it back"
    watch(database, clock, net)
    net.finalize()
    with database.read() as session:
        asked = deposits.get(session, ORGANIZATION, asked.deposit_id)
    assert (asked.state, asked.arriving_microusd) == ("waiting", 2_000_000)
    assert sweep(database, net.chain, Custody(net.treasury_key, net.mint), clock) >= 1
    assert (available(database), pending(database)) == (2_000_000, 0), "whoever credits it, it is counted once"


def test_a_link_that_is_paid_twice_is_credited_twice_and_what_arrived_counts(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    payer = net.wallet(5_000_000)
    asked = announce(database, clock, net, 2_000_000)
    net.chain.send(net.deposit(payer, 500_000, asked.reference))
    net.finalize()
    assert watch(database, clock, net) == 500_000
    net.chain.send(net.deposit(payer, 700_000, asked.reference))
    net.finalize()
    assert watch(database, clock, net) == 700_000
    assert available(database) == 1_200_000


def test_a_transfer_that_failed_or_names_no_deposit_or_another_owners_is_not_ours(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    payer = net.wallet(1_000_000)
    asked, others = announce(database, clock, net, 10), announce(database, clock, net, 10, "org_B")
    net.chain.send(net.deposit(payer, 9_000_000, asked.reference))
    net.chain.send(net.deposit(payer, 100_000))
    net.chain.send(net.deposit(payer, 30_000, others.reference))
    net.finalize()
    assert watch(database, clock, net) == 30_000
    assert (available(database), available(database, "org_B")) == (0, 30_000)
    with database.read() as session, pytest.raises(NotFound):
        deposits.get(session, ORGANIZATION, others.deposit_id)


def test_a_watcher_that_dies_before_the_credit_credits_it_next_time(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    payer = net.wallet(1_000_000)
    asked = announce(database, clock, net, 10)
    net.chain.send(net.deposit(payer, 100_000, asked.reference))
    net.finalize()

    class Away:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name == "read_transaction":
                raise ChainUnavailable("nobody answers")
            return getattr(net.chain, name)  # type: ignore[no-any-return]

    assert deposit_watch.watch(database, Away(), clock) == 0  # type: ignore[arg-type]
    assert watch(database, clock, net) == 100_000


REFERENCE, TREASURY, MINT, ACCOUNT = "reference", "treasury", "mint", "account"


def transaction(
    *transfers: TokenTransfer, moved: int, account: str = ACCOUNT, failed: bool = False
) -> ChainTransaction:
    keys = (REFERENCE, *(reference for item in transfers for reference in item.references))
    return ChainTransaction(
        signature="signature",
        slot=1,
        block_time=None,
        failure=Failure("error", 0) if failed else None,
        fee_lamports=5000,
        account_keys=keys,
        memos=(),
        instructions=(),
        transfers=transfers,
        token_changes=(TokenChange(account, TREASURY, MINT, 1_000, 1_000 + moved),),
    )


def transfer(amount: int, *references: str, index: int = 0, to: str = ACCOUNT) -> TokenTransfer:
    return TokenTransfer(index, "payer's account", to, MINT, amount, references)


def arrived(of: ChainTransaction) -> list[Arrival]:
    return arrivals(of, account=ACCOUNT, reference=REFERENCE)


def test_each_marked_transfer_of_a_transaction_is_an_arrival_of_its_own() -> None:
    first, other, third = transfer(5, REFERENCE), transfer(7, "another", index=1), transfer(9, REFERENCE, index=2)
    found = arrived(transaction(first, other, third, moved=21))
    assert found == [Arrival("signature", 0, 5), Arrival("signature", 2, 9)]


def test_a_transfer_inside_another_program_counts_by_what_it_moved() -> None:
    assert arrived(transaction(moved=40)) == [Arrival("signature", WHOLE_TRANSACTION, 40)]
    assert arrived(transaction(transfer(40), moved=40)) == [Arrival("signature", WHOLE_TRANSACTION, 40)]


@pytest.mark.parametrize(
    "forged",
    [
        transaction(transfer(5, REFERENCE), moved=5, failed=True),
        transaction(transfer(5, REFERENCE), moved=5, account="another of the treasury's"),
        transaction(transfer(5, REFERENCE), moved=4),
        transaction(transfer(5, REFERENCE), moved=0),
        transaction(transfer(5, REFERENCE), moved=-5),
        transaction(transfer(5, "another"), moved=5),
    ],
)
def test_what_failed_or_moved_less_or_is_in_another_account_or_of_another_mark_is_no_arrival(
    forged: ChainTransaction,
) -> None:
    assert arrived(forged) == []


@given(st.lists(st.tuples(st.integers(1, 100), st.booleans(), st.booleans()), max_size=6), st.integers(-50, 600))
def test_never_more_arrives_than_was_moved(items: list[tuple[int, bool, bool]], moved: int) -> None:
    transfers = [
        transfer(amount, *([REFERENCE] if marked else []), index=index, to=ACCOUNT if ours else "elsewhere")
        for index, (amount, marked, ours) in enumerate(items)
    ]
    assert sum(item.amount_microusd for item in arrived(transaction(*transfers, moved=moved))) <= max(0, moved)


def test_the_same_transfer_is_credited_to_one_deposit_only(books: Books) -> None:
    asked = [deposits.request(books.session, ORGANIZATION, 10, books.now, CUSTODY) for _ in range(2)]
    same = [Arrival("signature", 0, 10)]
    assert [deposits.credit(books.session, item.deposit_id, same, books.now) for item in asked] == [10, 0]
    assert books.money() == (10, 0)
    books.check()


def test_a_request_is_a_solana_pay_link(books: Books) -> None:
    asked = deposits.request(books.session, ORGANIZATION, 1_250_000, books.now, CUSTODY)
    link = urlsplit(asked.solana_pay_url)
    assert (link.scheme, link.path) == ("solana", CUSTODY.address)
    query = {key: value for key, (value,) in parse_qs(link.query, strict_parsing=True).items()}
    assert query == {
        "amount": "1.25",
        "spl-token": CUSTODY.mint,
        "reference": asked.reference,
        "label": "Gridbay",
        "memo": asked.memo,
    }


def test_waiting_requests_are_bounded_looked_at_less_and_less_and_lapse(books: Books) -> None:
    ids = [deposits.request(books.session, ORGANIZATION, 10, books.now, CUSTODY).deposit_id for _ in range(50)]
    with pytest.raises(TooManyDeposits):
        deposits.request(books.session, ORGANIZATION, 10, books.now, CUSTODY)
    looks = 0
    while deposits.get(books.session, ORGANIZATION, ids[0]).state == "waiting":
        row = books.session.scalars(select(DepositRow).where(DepositRow.id == ids[0])).one()
        assert row.next_check_at is not None and row.next_check_at - books.now <= timedelta(hours=1)
        books.clock.advance(row.next_check_at - books.now)
        deposits.credit(books.session, ids[0], [], books.now)
        looks += 1
    assert 200 < looks < 400
    assert deposits.get(books.session, ORGANIZATION, ids[0]).state == "lapsed"
    books.wait(WATCHED_FOR.total_seconds())
    assert ids[0] not in [item.deposit_id for item in deposits.due(books.session, books.now, 100)]
    deposits.request(books.session, ORGANIZATION, 10, books.now, CUSTODY)
