"""The audit finds every kind of broken book, and the database alone already refuses most of them."""

import pytest
from books import ORGANIZATION, PROVIDER, Books
from sqlalchemy import text

from billing.chains.transactions import SignedTransaction
from billing.charging import adjustments, budgets, funding
from billing.charging.budgets import Period
from billing.ledger import audit
from billing.settling import batches, epochs, wallets
from market.components import ComponentPrices, Components


@pytest.fixture
def busy(books: Books) -> Books:
    """Books with one of everything: a finished, closed and paid job, a running one, a waiting one, one whose price
    has components, an open payout, a budget."""
    books.deposit(10_000_000)
    budgets.set_budget(books.session, ORGANIZATION, "", Period.DAY, 5_000_000, books.now)
    wallets.set_wallet(books.session, PROVIDER, "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin", books.now)
    for number in range(2):
        terms, placed, stream = books.run(max_total_microusd=900_000)
        books.wait(60)
        books.report(stream.read(50_000, final=True))
        books.end(placed)
        funding.end_job(books.session, terms.job_id, 1, books.now)
        epochs.close(books.session, books.now, books.config)
        if number == 0:
            books.prepare()
            for batch in batches.open_batches(books.session):
                signed = SignedTransaction(b"", batch.batch_id)
                batches.sign(books.session, batch, signed, 1, books.now)
                batches.finalized(books.session, batch.batch_id, batch.batch_id, books.now)
    (line_id, _) = books.session.execute(text("SELECT id, epoch FROM usage_lines ORDER BY epoch LIMIT 1")).one()
    adjustments.reverse(books.session, line_id, 100, reason="x", by="tok_x", now=books.now)
    _, _, stream = books.run()
    books.wait(900)
    books.report(stream.read(899_000))
    books.fund()
    books.capture()
    books.open(books.terms())
    made = Components.of(3_000_000, ComponentPrices(0, 10_000), (0, 16 * 2**30, 0))
    priced = books.terms(price_limit_microusd_per_unit_hour=made.asked_microusd(1_000))
    books.open(priced)
    books.place(priced, components=made)
    books.check()
    return books


BREAKS = {
    "the whole ledger sums to zero": "UPDATE accounts SET balance_microusd = balance_microusd + 1 WHERE kind = 'fees'",
    "a stored balance equals its entries": "UPDATE accounts SET balance_microusd = balance_microusd + CASE kind "
    "WHEN 'fees' THEN 1 ELSE -1 END WHERE kind IN ('fees', 'available')",
    "every transfer balances": "UPDATE entries SET amount_microusd = amount_microusd - 1 "
    "WHERE account_id = 'chain:treasury'",
    "entries name a transfer and an account": "DELETE FROM transfers WHERE key LIKE 'hold:%'",
    "held equals the open holds": "UPDATE holds SET amount_microusd = amount_microusd - 1 WHERE settled_at IS NULL",
    "a window and its hold are settled together": "UPDATE windows SET settled_at = now() WHERE settled_at IS NULL",
    "a settled lease and an ended job leave nothing held": "UPDATE job_terms SET ended_at = now()",
    "a captured hold has one line of that amount": "DELETE FROM usage_lines WHERE epoch IS NULL",
    "a line''s transfer is its split": "UPDATE usage_lines SET provider_microusd = provider_microusd + 1, "
    "fee_microusd = fee_microusd - 1",
    "what providers earned is payable, paying or paid": "UPDATE payouts SET amount_microusd = amount_microusd + 1 "
    "WHERE state = 'confirmed'",
    "paying equals the open payouts": "DELETE FROM payouts WHERE state = 'open'",
    "confirmed payouts are in a finalized batch": "UPDATE settlement_signings SET outcome = 'expired'",
    "lines of a lease follow each other": "UPDATE usage_lines SET to_ms = to_ms - 2 WHERE epoch IS NULL",
    "within its time and its rate": "UPDATE usage_lines SET to_ms = to_ms + 2000 WHERE epoch IS NULL",
    "a price follows from what it was made of": "UPDATE metered_components SET memory_bytes = memory_bytes + 2 ^ 34",
    "a lease''s counters are those of its lines": "UPDATE metered_leases SET charged_microusd = charged_microusd + 1",
    "no job costs more than its limit": "UPDATE job_terms SET max_total_microusd = 49999",
    "adjustments reverse no more of a line than it charged": "UPDATE adjustments SET amount_microusd = 10000000, "
    "fee_microusd = fee_microusd + 9999900",
    "an adjustment''s transfers are its reversal": "UPDATE adjustments SET owed_microusd = owed_microusd - 1",
    "a budget counts what was funded in its period": "UPDATE budget_periods SET used_microusd = used_microusd + 1",
    "no window was funded past a budget": "UPDATE budgets SET limit_microusd = 1",
    "an epoch is its lines": "UPDATE epochs SET total_microusd = total_microusd + 1",
    "lines are stamped with epoch": "DELETE FROM epochs WHERE number = 2",
    "epochs up to": "DELETE FROM epochs WHERE number = 1",
    "a closed epoch never changes": "UPDATE usage_lines SET captured_at = captured_at + interval '1 second'",
    "custody is deposits and pulls less payouts": "UPDATE deposit_credits SET amount_microusd = amount_microusd - 1",
}


@pytest.mark.parametrize("invariant", BREAKS)
def test_a_broken_invariant_is_found_and_named(busy: Books, invariant: str) -> None:
    busy.session.flush()
    # As if the triggers were not there: a restored backup, a superuser, a bug in the database.
    busy.session.execute(text("SET LOCAL session_replication_role = replica"))
    busy.session.execute(text(BREAKS[invariant]))
    busy.session.expire_all()
    found = audit.check(busy.session)
    assert any(invariant.replace("''", "'") in broken for broken in found), found


def test_of_a_large_epoch_some_lines_are_hashed_at_once_and_the_rest_another_minute(
    busy: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy.run()
    busy.wait(1000)
    busy.capture()
    epochs.close(busy.session, busy.now, busy.config)
    monkeypatch.setattr(audit, "LINES_RECOMPUTED", 1)
    assert audit.check(busy.session) == []
    busy.session.execute(text("SET LOCAL session_replication_role = replica"))
    busy.session.execute(text(BREAKS["a closed epoch never changes"]))
    found = [broken for broken in audit.check(busy.session) if "is not what epoch" in broken]
    assert len(found) == audit.EPOCHS_RECOMPUTED, "one line of each"


def test_right_books_are_found_right(busy: Books) -> None:
    assert audit.check(busy.session) == []
