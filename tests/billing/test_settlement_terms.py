"""Who is paid when and how much: thresholds, schedules, caps, cool-downs, holds, a newcomer's account, the fee."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from books import PROVIDER, Books
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from sqlalchemy import select

from billing.chains.transactions import associated_token_address
from billing.ledger import accounts, posting
from billing.settling import earnings, newcomers, payouts, wallets
from billing.settling.payout_terms import Candidate, amount_due
from billing.settling.priority_fees import MICROLAMPORTS, unit_price
from billing.tables.settlement import PayoutRow, SettlementBatchRow
from infra.settings import Settings
from market.errors import InvalidInput

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONFIG = Settings(
    payout_min_microusd=10,
    payout_daily_max_microusd=1_000,
    payout_provider_daily_max_microusd=400,
    payout_hold_seconds=86_400,
    wallet_cooldown_seconds=86_400,
    token_account_rent_microusd=300,
)
SOMEBODY = Candidate(
    provider_id=PROVIDER,
    address="wallet",
    payable_microusd=100,
    payable_from=NOW - DAY,
    held_at=None,
    account_missing=False,
    threshold_microusd=None,
    every_seconds=None,
    last_opened_at=None,
    opened_today_microusd=0,
)


def due(room: int = 1_000, **changed: object) -> int:
    return amount_due(replace(SOMEBODY, **changed), room, NOW, CONFIG)  # type: ignore[arg-type]


def test_a_threshold_and_a_schedule_are_the_providers() -> None:
    assert due() == 100
    assert (due(threshold_microusd=101), due(threshold_microusd=100)) == (0, 100)
    assert due(payable_microusd=9) == 0, "less than the market sends"
    assert due(every_seconds=3600, last_opened_at=NOW - HOUR / 2) == 0
    assert due(every_seconds=3600, last_opened_at=NOW - HOUR) == 100


def test_the_daily_caps_let_through_what_they_have_room_for() -> None:
    assert due(payable_microusd=500) == 400
    assert due(payable_microusd=500, opened_today_microusd=350) == 50
    assert due(payable_microusd=500, opened_today_microusd=395) == 0, "less than is sent at all"
    assert due(room=60) == 60
    assert due(room=5) == 0
    assert due(payable_microusd=5_000, threshold_microusd=4_000) == 400, "a threshold above the cap is reached"


def test_a_hold_ends_by_time_or_when_the_earnings_pay_for_the_account() -> None:
    assert due(held_at=NOW - HOUR) == 0
    assert due(held_at=NOW - DAY) == 100
    assert due(held_at=NOW - HOUR, account_missing=True, payable_microusd=309) == 0
    assert due(held_at=NOW - HOUR, account_missing=True, payable_microusd=310) == 310
    assert due(payable_from=NOW + HOUR) == 0


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**9), max_size=150),
    st.integers(200, 1_400_000),
    st.integers(0, 50),
    st.integers(0, 10**5),
    st.integers(0, 10**5),
)
def test_the_fee_never_passes_its_cap_and_rises_with_each_signing(
    recent: list[int], units: int, signings: int, least: int, most: int
) -> None:
    config = Settings(priority_fee_lamports_min=least, priority_fee_lamports_max=most)
    price = unit_price(recent, units, signings, config)
    assert price * units <= most * MICROLAMPORTS
    assert price <= unit_price(recent, units, signings + 1, config)
    assert price >= min(sorted(recent)[len(recent) * 3 // 4] if recent else 0, most * MICROLAMPORTS // units)


def address() -> str:
    return str(Keypair().pubkey())


def earn(books: Books, amount: int, provider_id: str = PROVIDER) -> None:
    key = f"earned:{provider_id}:{books.now}"
    posting.post(
        books.session, [posting.Transfer(key, {accounts.TREASURY: -amount, accounts.payable(provider_id): amount})]
    )


def opened(books: Books) -> list[tuple[str, int]]:
    """Where payouts that a close opens now go, and how much."""
    before = set(books.session.scalars(select(PayoutRow.id)))
    payouts.open_due(books.session, None, books.now, CONFIG)
    rows = books.session.scalars(select(PayoutRow).where(PayoutRow.id.not_in(before)).order_by(PayoutRow.provider_id))
    return [(row.wallet_address, row.amount_microusd) for row in rows]


def test_a_changed_address_is_paid_after_its_cool_down_and_the_one_before_at_once(books: Books) -> None:
    old, new = address(), address()
    wallets.set_wallet(books.session, PROVIDER, old, books.now, CONFIG)
    earn(books, 50)
    assert opened(books) == [(old, 50)], "a first address waits for nothing"
    wallets.set_wallet(books.session, PROVIDER, new, books.wait(1), CONFIG)
    earn(books, 60)
    assert opened(books) == []
    wallets.set_wallet(books.session, PROVIDER, None, books.wait(1), CONFIG)
    wallets.set_wallet(books.session, PROVIDER, new, books.wait(1), CONFIG)
    books.wait(86_000)
    assert opened(books) == [], "taking it away in between shortens nothing"
    wallets.set_wallet(books.session, PROVIDER, old, books.wait(1), CONFIG)
    assert opened(books) == [(old, 60)]
    wallets.set_wallet(books.session, PROVIDER, new, books.wait(1), CONFIG)
    earn(books, 70)
    books.wait(86_400)
    assert opened(books) == [(new, 70)]
    wallets.set_wallet(books.session, PROVIDER, old, books.now - 2 * DAY, CONFIG)
    assert earnings.of_provider(books.session, PROVIDER).wallet_address == new, "an older wish never wins"


def test_the_market_s_cap_is_shared_and_nobody_is_forgotten(books: Books) -> None:
    names = [f"{PROVIDER}{number}" for number in range(4)]
    for name in names:
        wallets.set_wallet(books.session, name, address(), books.now, CONFIG)
        earn(books, 400, name)
    assert sum(amount for _, amount in opened(books)) == 1_000
    assert opened(books) == []
    books.wait(86_400)
    assert [amount for _, amount in opened(books)] == [200, 400]


def test_terms_are_kept_with_and_without_a_wallet(books: Books) -> None:
    wallets.set_terms(books.session, PROVIDER, 200, 7200, books.now)
    books.session.expire_all()
    wallets.set_wallet(books.session, PROVIDER, address(), books.now, CONFIG)
    found = earnings.of_provider(books.session, PROVIDER)
    assert (found.threshold_microusd, found.every_seconds) == (200, 7200)
    earn(books, 199)
    assert opened(books) == []
    books.wait(1)
    earn(books, 1)
    assert [amount for _, amount in opened(books)] == [200]
    with pytest.raises(InvalidInput):
        wallets.set_wallet(books.session, PROVIDER, "nowhere", books.now, CONFIG)


def asked(books: Books, missing: bool) -> PayoutRow:
    """The newest payout after the chain was asked for its account."""
    waiting = newcomers.unchecked(books.session)
    addresses = {each.wallet_address for each in waiting} if missing else set()
    newcomers.checked(books.session, waiting, addresses, "treasury", books.now, CONFIG)
    books.session.expire_all()
    return books.session.scalars(select(PayoutRow).order_by(PayoutRow.created_at.desc(), PayoutRow.id.desc())).all()[0]


def test_a_newcomer_s_account_is_paid_from_its_first_earnings_once_they_suffice(books: Books) -> None:
    wallet = address()
    wallets.set_wallet(books.session, PROVIDER, wallet, books.now, CONFIG)
    earn(books, 300)
    assert opened(books) == [(wallet, 300)]
    row = asked(books, missing=True)
    assert (row.state, row.rent_microusd) == ("returned", 0)
    assert "has no token account" in earnings.of_provider(books.session, PROVIDER).held
    assert opened(books) == []
    books.wait(1)
    earn(books, 20)
    assert opened(books) == [(wallet, 320)]
    row = asked(books, missing=True)
    assert (row.state, row.account, row.rent_microusd) == ("open", "missing", 300)
    books.session.add(SettlementBatchRow(id="batch", kind="payouts", memo="memo", created_at=books.now))
    books.session.flush()
    row.batch_id = "batch"
    posting.post(books.session, [payouts.confirm(row, books.wait(1))])
    books.session.flush()
    found = earnings.of_provider(books.session, PROVIDER)
    assert (found.paid_microusd, found.rent_microusd, found.paying_microusd) == (20, 300, 0)
    assert posting.balances(books.session, [accounts.RENT, accounts.TREASURY]) == {
        accounts.RENT: 300,
        accounts.TREASURY: -300,
    }


def test_nobody_s_address_gets_no_account_made(books: Books) -> None:
    wallets.set_wallet(books.session, PROVIDER, associated_token_address(address(), address()), books.now, CONFIG)
    earn(books, 400)
    opened(books)
    assert asked(books, missing=True).state == "returned"
    assert "no key's address" in earnings.of_provider(books.session, PROVIDER).held
