"""A withdrawal takes what is available, waits where a theft would be seen, and is paid exactly once or given back."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from books import CUSTODY, ORGANIZATION, Books
from dying import Dying, Killed
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from local_net import LocalNet
from sqlalchemy import text
from test_settlement import fill_treasury, paid, recipient, settle, settle_all

from billing.chains.transactions import SignedTransaction
from billing.ledger import audit, balances
from billing.settling import batches, newcomers, withdrawals
from billing.settling.withdrawals import WAITING_MAX, TooManyWithdrawals, Withdrawal
from billing.tables.settlement import PayoutRow
from billing.treasury import deposits, reconciliation
from billing.treasury.custody import Custody
from billing.treasury.sweep import sweep
from infra.database import Database
from infra.settings import Settings
from market.clock import ManualClock
from market.errors import Conflict, InsufficientFunds, InvalidInput, MarketError, NotFound

WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
OTHER_WALLET = "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"
DAY = 86_400
CONFIG = Settings(
    payout_min_microusd=10,
    payout_daily_max_microusd=1_000,
    payout_organization_daily_max_microusd=600,
    wallet_cooldown_seconds=DAY,
    token_account_rent_microusd=300,
)
AT_ONCE = Settings(payout_min_microusd=10, wallet_cooldown_seconds=0, token_account_rent_microusd=300)


def ask(books: Books, amount: int, wallet: str = WALLET, owner: str = ORGANIZATION) -> Withdrawal:
    return withdrawals.request(
        books.session, owner, amount, wallet, treasury=CUSTODY.address, now=books.now, config=CONFIG
    )


def state(books: Books, withdrawal: Withdrawal, owner: str = ORGANIZATION) -> str:
    books.session.expire_all()
    return withdrawals.get(books.session, owner, withdrawal.withdrawal_id).state


def opened(books: Books) -> int:
    return withdrawals.open_due(books.session, books.now, CONFIG)


def send(books: Books, *, well: bool = True) -> None:
    """All that is open is finalized by the chain, or refused."""
    asked = newcomers.unchecked(books.session)
    newcomers.checked(books.session, asked, (), CUSTODY.address, books.now, CONFIG)
    batches.prepare(books.session, CUSTODY.address, CUSTODY.mint, books.now)
    for batch in batches.open_batches(books.session):
        if well:
            batches.sign(books.session, batch, SignedTransaction(b"", batch.batch_id), 1, books.now)
            batches.finalized(books.session, batch.batch_id, batch.batch_id, books.now)
        else:
            for index in reversed(range(len(batch.payments))):
                batches.hold_payment(books.session, _again(books, batch.batch_id), index, "frozen", books.now)


def _again(books: Books, batch_id: str) -> batches.Batch:
    return next(batch for batch in batches.open_batches(books.session) if batch.batch_id == batch_id)


def money(books: Books, owner: str = ORGANIZATION) -> tuple[int, int]:
    """Available and withdrawing."""
    found = balances.of_organization(books.session, owner)
    return found.available_microusd, found.withdrawing_microusd


def test_it_leaves_what_is_available_at_once_and_waits_for_a_wallet_that_is_new(books: Books) -> None:
    books.deposit(1_000)
    made = ask(books, 400)
    assert (made.state, made.payable_from) == ("waiting", books.now + timedelta(days=1))
    assert money(books) == (600, 400)
    books.wait(DAY - 1)
    assert opened(books) == 0
    books.wait(1)
    assert (opened(books), opened(books)) == (1, 0)
    assert state(books, made) == "sending"
    books.check()
    send(books)
    found = withdrawals.get(books.session, ORGANIZATION, made.withdrawal_id)
    assert (found.state, found.signature is not None) == ("confirmed", True)
    assert money(books) == (600, 0)
    books.check()
    books.wait(DAY)
    assert ask(books, 100).payable_from == books.now, "a wallet that was paid before waits for nothing"
    assert ask(books, 100, OTHER_WALLET).payable_from > books.now
    assert [each.amount_microusd for each in withdrawals.of_organization(books.session, ORGANIZATION)] == [
        100,
        100,
        400,
    ]


def test_what_waits_can_be_cancelled_and_what_is_on_its_way_cannot(books: Books) -> None:
    books.deposit(1_000)
    made, other = ask(books, 400), ask(books, 100)
    for _ in range(2):
        assert withdrawals.cancel(books.session, ORGANIZATION, made.withdrawal_id, books.now).state == "cancelled"
    assert money(books) == (900, 100)
    books.wait(DAY)
    assert opened(books) == 1
    with pytest.raises(Conflict):
        withdrawals.cancel(books.session, ORGANIZATION, other.withdrawal_id, books.now)
    for forbidden in (withdrawals.get, lambda *of: withdrawals.cancel(*of, books.now)):
        with pytest.raises(NotFound):
            forbidden(books.session, "org_B", made.withdrawal_id)
    books.check()


def test_a_wallet_that_the_chain_refuses_gives_it_back(books: Books) -> None:
    books.deposit(1_000)
    made = ask(books, 400)
    books.wait(DAY)
    opened(books)
    send(books, well=False)
    found = withdrawals.get(books.session, ORGANIZATION, made.withdrawal_id)
    assert (found.state, found.detail, money(books)) == ("returned", "frozen", (1_000, 0))
    books.check()


@pytest.mark.parametrize(
    ("amount", "wallet", "error"),
    [
        (501, WALLET, InsufficientFunds),
        (9, WALLET, InvalidInput),
        (601, WALLET, InvalidInput),
        (100, CUSTODY.address, InvalidInput),
        (100, "nowhere", InvalidInput),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(
    books: Books, amount: int, wallet: str, error: type[MarketError]
) -> None:
    books.deposit(500)
    with pytest.raises(error):
        ask(books, amount, wallet)
    assert money(books) == (500, 0)


def test_so_many_wait_at_most(books: Books) -> None:
    books.deposit(1_000)
    for _ in range(WAITING_MAX):
        ask(books, 10)
    with pytest.raises(TooManyWithdrawals):
        ask(books, 10)


def test_the_daily_caps_let_through_what_they_have_room_for(books: Books) -> None:
    for owner in (ORGANIZATION, "org_B", "org_C"):
        books.deposit(2_000, owner)
    first, second = ask(books, 400), ask(books, 300)
    large, small = ask(books, 600, OTHER_WALLET, "org_B"), ask(books, 50, WALLET, "org_C")
    books.wait(DAY)
    assert opened(books) == 2, "the second is beyond the organization's cap, the small one beyond the market's"
    assert (state(books, first), state(books, second)) == ("sending", "waiting")
    assert state(books, large, "org_B") == "sending", "400 and 600 are all of the market's 1,000"
    assert state(books, small, "org_C") == "waiting"


def test_a_large_one_is_not_overtaken_for_ever(books: Books) -> None:
    for owner in (ORGANIZATION, "org_B", "org_C"):
        books.deposit(2_000, owner)
    ask(books, 500), ask(books, 600, OTHER_WALLET, "org_B")
    small = ask(books, 50, WALLET, "org_C")
    books.wait(DAY)
    assert opened(books) == 1
    assert state(books, small, "org_C") == "waiting", "it came later than the large one, which waits for room"
    books.wait(DAY)
    assert opened(books) == 2


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["deposit", "ask", "cancel", "open", "send", "refuse", "wait"]), st.integers(1, 700)),
    max_size=40,
)


@trying(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
def test_whatever_happens_in_whatever_order_no_money_comes_or_goes(
    fresh_books: Callable[[], Books], operations: list[tuple[str, int]]
) -> None:
    books = fresh_books()
    deposited, asked = 0, []
    for name, number in operations:
        if name == "deposit":
            books.deposit(number)
            deposited += number
        elif name == "ask":
            before = money(books)
            possible = 10 <= number <= min(600, before[0]) and len(withdrawals_in(books, "waiting")) < WAITING_MAX
            try:
                asked.append(ask(books, number))
                assert possible
            except MarketError:
                assert not possible and money(books) == before
        elif name == "cancel" and asked:
            chosen = asked[number % len(asked)]
            waits = state(books, chosen) in ("waiting", "cancelled")
            try:
                withdrawals.cancel(books.session, ORGANIZATION, chosen.withdrawal_id, books.now)
                assert waits
            except Conflict:
                assert not waits
        elif name == "open":
            opened(books)
        elif name in ("send", "refuse"):
            send(books, well=name == "send")
        elif name == "wait":
            books.wait(number * 300)
    sums: Counter[str] = Counter()
    for each in withdrawals.of_organization(books.session, ORGANIZATION):
        sums[each.state] += each.amount_microusd
    on_the_way = sums["waiting"] + sums["sending"]
    assert money(books) == (deposited - on_the_way - sums["confirmed"], on_the_way)
    books.check()


def withdrawals_in(books: Books, wanted: str) -> list[Withdrawal]:
    return [each for each in withdrawals.of_organization(books.session, ORGANIZATION) if each.state == wanted]


BREAKS = {
    "withdrawing equals the withdrawals on their way": "DELETE FROM withdrawals WHERE payout_id IS NULL",
    "a withdrawal is one payout": "UPDATE withdrawals SET amount_microusd = amount_microusd + 1 "
    "WHERE payout_id IS NOT NULL",
    "is not what any withdrawal asked for": "DELETE FROM withdrawals WHERE payout_id IS NOT NULL",
}


@pytest.mark.parametrize("invariant", BREAKS)
def test_broken_books_are_found_and_named(books: Books, invariant: str) -> None:
    books.deposit(1_000)
    ask(books, 100)
    books.wait(DAY)
    opened(books)
    ask(books, 100)
    books.check()
    books.session.execute(text("SET LOCAL session_replication_role = replica"))
    books.session.execute(text(BREAKS[invariant]))
    assert any(invariant in broken for broken in audit.check(books.session))


def take(database: Database, clock: ManualClock, net: LocalNet, amount: int, wallet: str) -> Withdrawal:
    with database.transaction() as session:
        return withdrawals.request(
            session, ORGANIZATION, amount, wallet, treasury=net.treasury, now=clock.now(), config=AT_ONCE
        )


def deposit(database: Database, clock: ManualClock, amount: int) -> None:
    with database.transaction() as session:
        Books(session, clock).deposit(amount)


def test_two_at_once_take_what_is_there_once(database: Database, clock: ManualClock, net: LocalNet) -> None:
    deposit(database, clock, 100_000)
    together, taken = Barrier(8), []

    def try_it() -> None:
        together.wait()
        with suppress(InsufficientFunds):
            taken.append(take(database, clock, net, 40_000, WALLET))

    threads = [Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 2
    with database.read() as session:
        assert audit.check(session) == []


def test_a_settler_killed_at_any_step_sends_it_exactly_once(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 10_000_000)
    owner, amount, at = recipient(net), 20_000, 0
    for at in range(100):
        deposit(database, clock, amount)
        with database.transaction() as session:
            withdrawals.request(
                session,
                ORGANIZATION,
                amount,
                str(owner.pubkey()),
                treasury=net.treasury,
                now=clock.now(),
                config=AT_ONCE,
            )
        try:
            settle(database, clock, net, Dying(at))
            net.finalize()
            settle(database, clock, net, Dying(at))
        except Killed:
            settle_all(database, clock, net)
        else:
            settle_all(database, clock, net)
            break
        assert paid(net, owner) == 1 + (at + 1) * amount, f"killed at step {at}"
    assert 8 <= at < 99, "every step of a settlement was tried"
    assert paid(net, owner) == 1 + (at + 1) * amount
    with database.read() as session:
        assert audit.check(session) == []


def test_a_wallet_without_a_token_account_pays_for_it_or_gets_the_money_back(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 10_000_000)
    deposit(database, clock, 2_000_000)
    bare, poor = net.wallet(), net.wallet()
    made = take(database, clock, net, 1_000_000, str(bare.pubkey()))
    refused = take(database, clock, net, 20_000, str(poor.pubkey()))
    settle_all(database, clock, net)
    rent = Settings().token_account_rent_microusd
    assert (paid(net, bare), paid(net, poor)) == (1_000_000 - rent, 0)
    with database.read() as session:
        found = withdrawals.get(session, ORGANIZATION, made.withdrawal_id)
        assert (found.state, found.rent_microusd) == ("confirmed", rent)
        found = withdrawals.get(session, ORGANIZATION, refused.withdrawal_id)
        assert found.state == "returned" and "withdraw more than that" in found.detail
        assert balances.of_organization(session, ORGANIZATION).available_microusd == 1_000_000
        assert audit.check(session) == []


def test_custody_reconciles_before_while_and_after_it_is_sent(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    custody = Custody(net.treasury_key, net.mint)
    payer, owner = net.wallet(5_000_000), recipient(net)
    with database.transaction() as session:
        asked = deposits.request(session, ORGANIZATION, 2_000_000, clock.now(), custody)
    net.chain.send(net.deposit(payer, 2_000_000, asked.reference, asked.memo))
    net.finalize()
    sweep(database, net.chain, custody, clock)
    take(database, clock, net, 500_000, str(owner.pubkey()))

    def whole() -> dict[str, int]:
        found = reconciliation.reconcile(database, net.chain, custody)
        assert found.mismatches == ()
        return {kind: amount for kind, amount in found.books.by_kind if amount}

    assert whole() == {"available": 1_500_000, "withdrawing": 500_000}
    settle(database, clock, net)
    assert whole() == {"available": 1_500_000, "withdrawing": 500_000}
    net.finalize()
    assert whole() == {"available": 1_500_000, "withdrawing": 500_000}, "it has landed and nobody has noted it"
    settle(database, clock, net)
    assert whole() == {"available": 1_500_000}
    with database.read() as session:
        assert session.query(PayoutRow).one().state == "confirmed"
