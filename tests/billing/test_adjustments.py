"""A posted charge is corrected by a reversal that names its line: never beyond it, at the right party's cost."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from books import ORGANIZATION, PROVIDER, Books
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from billing.charging import adjustments, bills, faults, funding
from billing.charging.adjustments import Adjustment, Bearer, ReserveShort
from billing.charging.faults import Fault, fault_of
from billing.ledger import accounts, posting
from billing.metering import leases
from billing.settling import earnings, epochs, receipts, wallets
from billing.settling.earnings import Earnings
from market.errors import Conflict, NotFound
from market.messages import AttemptEnded, AttemptPlaced
from market.money import Split, reversal_split, split_charge
from market.receipts import Receipt, verify_receipt
from market.states import Reason

WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_receipt.py"


def billed(books: Books, run_ms: int = 50_001) -> tuple[str, str]:
    """A finished job, and its only line: 50,001 micro-USDC, of which 47,500 are the provider's, 2,500 the fee."""
    terms, placed, stream = books.run()
    books.wait(run_ms // 1000 + 1)
    books.report(stream.read(run_ms, final=True))
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    return terms.job_id, bills.lines(books.session, terms.job_id)[0].line_id


def adjust(books: Books, line_id: str, amount: int | None = None, bearer: Bearer = Bearer.PROVIDER) -> Adjustment:
    return adjustments.reverse(
        books.session, line_id, amount, reason="a full disk", by="tok_x", now=books.now, bearer=bearer
    )


def paid_out(books: Books) -> None:
    """What is payable is set on its way to the provider's wallet."""
    wallets.set_wallet(books.session, PROVIDER, WALLET, books.now)
    epochs.close(books.session, books.now, books.config)


def balances(books: Books) -> list[int]:
    """Of the provider, the fees and the rounding."""
    names = [accounts.payable(PROVIDER), accounts.FEES, accounts.ROUNDING]
    found = posting.balances(books.session, names)
    return [found[name] for name in names]


def earned(books: Books) -> Earnings:
    return earnings.of_provider(books.session, PROVIDER)


def test_a_part_goes_back_to_the_customer_from_whoever_had_it(books: Books) -> None:
    books.deposit(1_000_000)
    job_id, line_id = billed(books)
    assert balances(books) == [47_500, 2_500, 1]
    made = adjust(books, line_id, 10_000)
    assert (made.split, made.owed_microusd) == (Split(9_501, 499, 0), 0)
    assert books.money() == (1_000_000 - 40_001, 0)
    assert balances(books) == [37_999, 2_001, 1]
    assert bills.costs(books.session, [job_id])[job_id].credited_microusd == 10_000
    assert (earned(books).payable_microusd, earned(books).reversed_microusd) == (37_999, 9_501)
    books.check()


def test_never_more_than_is_left_and_all_of_it_leaves_nothing_anywhere(books: Books) -> None:
    books.deposit(1_000_000)
    _, line_id = billed(books)
    adjust(books, line_id, 30_000)
    with pytest.raises(Conflict, match=r"0\.020001 of its 0\.050001 USDC are left"):
        adjust(books, line_id, 20_002)
    assert adjust(books, line_id).amount_microusd == 20_001
    assert books.money() == (1_000_000, 0)
    assert balances(books) == [0, 0, 0]
    with pytest.raises(Conflict):
        adjust(books, line_id)
    with pytest.raises(NotFound):
        adjust(books, "line_x", 1)
    books.check()


def test_what_was_paid_out_is_laid_out_by_the_fees_and_taken_from_the_next_earnings(books: Books) -> None:
    books.deposit(5_000_000)
    _, line_id = billed(books)
    for _ in range(3):
        billed(books, 500_000)
    paid_out(books)
    fees = balances(books)[1]
    made = adjust(books, line_id, 40_000)
    assert (made.owed_microusd, balances(books)[0]) == (made.split.provider_microusd, 0)
    assert balances(books)[1] == fees - 40_000
    assert earned(books).owed_microusd == made.owed_microusd
    books.check()
    _, small = billed(books, 10_000)
    assert adjustments.recover(books.session) == 1, "as far as it goes"
    assert (balances(books)[0], earned(books).owed_microusd) == (0, made.owed_microusd - 9_500)
    billed(books, 500_000)
    books.wait(3601)
    before = earned(books).paying_microusd
    epochs.close(books.session, books.now, books.config)
    assert earned(books).owed_microusd == 0
    assert earned(books).paying_microusd - before == 475_000 + 9_500 - made.owed_microusd, "before it is paid"
    assert adjustments.recover(books.session) == 0
    assert adjust(books, small, 1).owed_microusd == 1, "what it gave for the debt is paid out as well"
    books.check()


def test_without_reserve_nothing_is_laid_out(books: Books) -> None:
    books.deposit(1_000_000)
    _, line_id = billed(books)
    paid_out(books)
    with pytest.raises(ReserveShort, match=r"lay out 0\.05 USDC of it, and hold 0\.0025 USDC"):
        adjust(books, line_id)
    assert books.money() == (1_000_000 - 50_001, 0)
    assert adjust(books, line_id, 2_500).owed_microusd == 2_376
    assert balances(books)[1] == 0
    books.check()


def test_where_the_platform_is_to_blame_its_provider_keeps_its_share(books: Books) -> None:
    books.deposit(5_000_000)
    _, line_id = billed(books)
    for _ in range(2):
        billed(books, 500_000)
    payable, fees, _ = balances(books)
    made = adjust(books, line_id, bearer=Bearer.PLATFORM)
    assert (made.amount_microusd, made.owed_microusd) == (50_001, 0)
    assert balances(books) == [payable, fees - 50_000, 0]
    assert earned(books).reversed_microusd == 0
    books.check()


def test_an_adjustment_never_changes(books: Books) -> None:
    books.deposit(1_000_000)
    adjust(books, billed(books)[1], 10)
    for change in ("amount_microusd = 9, provider_microusd = provider_microusd - 1", "reason = 'x'"):
        with pytest.raises(DBAPIError), books.session.begin_nested():
            books.session.connection().exec_driver_sql(f"UPDATE adjustments SET {change}")
    with pytest.raises(DBAPIError), books.session.begin_nested():
        books.session.connection().exec_driver_sql("DELETE FROM adjustments")


def test_a_receipt_shows_what_was_given_back_and_verifies_with_it(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.deposit(1_000_000)
    billed(books, 20_000)
    job_id, line_id = billed(books)
    epochs.close(books.session, books.now, books.config)
    before = receipts.receipt(books.session, job_id, "treasury")
    assert before.format == "gridbay/receipt/v1" and "adjustments" not in before.model_dump()
    for amount in (7, 10_000, None):
        adjust(books, line_id, amount, Bearer.PLATFORM if amount == 7 else Bearer.PROVIDER)
        receipt = receipts.receipt(books.session, job_id, "treasury")
        assert verify_receipt(receipt).problems == ()
        assert runs(script(receipt.model_dump_json(), tmp_path, monkeypatch))
    assert (receipt.format, receipt.credited_microusd, receipt.total_microusd) == ("gridbay/receipt/v2", 50_001, 50_001)
    assert Receipt.model_validate_json(receipt.model_dump_json()) == receipt


def test_a_receipt_whose_adjustments_were_changed_does_not_verify(
    books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books.deposit(1_000_000)
    job_id, line_id = billed(books)
    epochs.close(books.session, books.now, books.config)
    adjust(books, line_id, 20_000)
    adjust(books, line_id, 10_000)
    receipt = receipts.receipt(books.session, job_id, "treasury")
    for number, item in enumerate(receipt.adjustments):
        for name in ("amount_microusd", "provider_microusd", "fee_microusd", "rounding_microusd", "line_id"):
            value = getattr(item, name)
            other = item.model_copy(update={name: "line_x" if isinstance(value, str) else value + 1})
            changed = [*receipt.adjustments]
            changed[number] = other
            refused(receipt.model_copy(update={"adjustments": changed}), tmp_path, monkeypatch)
    refused(receipt.model_copy(update={"credited_microusd": 29_999}), tmp_path, monkeypatch)
    refused(receipt.model_copy(update={"adjustments": [*receipt.adjustments] * 2}), tmp_path, monkeypatch)


def refused(receipt: Receipt, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not verify_receipt(receipt).ok
    assert not runs(script(receipt.model_dump_json(), folder, monkeypatch))


def script(receipt: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/verify_receipt.py about to look at that receipt."""
    file = folder / "receipt.json"
    file.write_text(receipt)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(file)])
    spec = importlib.util.spec_from_file_location("verify_receipt", SCRIPT)
    assert spec is not None
    return importlib.util.module_from_spec(spec)


def runs(module: ModuleType) -> bool:
    assert module.__spec__ is not None and module.__spec__.loader is not None
    try:
        module.__spec__.loader.exec_module(module)
    except (SystemExit, KeyError):
        return False
    return True


@given(st.integers(0, 10_000), st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_parts_that_are_taken_back_add_up_and_never_exceed_what_each_got(points: int, amounts: list[int]) -> None:
    charged = split_charge(sum(amounts), points)
    before, left = 0, charged
    for amount in amounts:
        part = reversal_split(charged, before, amount)
        parts = (part.provider_microusd, part.fee_microusd, part.rounding_microusd)
        assert sum(parts) == amount and min(parts) >= 0
        left = Split(left.provider_microusd - parts[0], left.fee_microusd - parts[1], left.rounding_microusd - parts[2])
        assert min(left.provider_microusd, left.fee_microusd, left.rounding_microusd) >= 0
        before += amount
    assert left == Split(0, 0, 0)


def ended(books: Books, placed: AttemptPlaced, reason: Reason) -> None:
    message = AttemptEnded(
        job_id=placed.job_id,
        attempt_id=placed.attempt_id,
        lease_id=placed.lease_id,
        ended_at=books.now,
        reason=reason,
    )
    leases.end(books.session, message, books.now, books.config)


@pytest.mark.parametrize(
    ("reason", "credited", "cause"),
    [
        (Reason.FAILED_PROVIDER_LOST, 100_000, "provider"),
        (Reason.STOPPED_LEASE_EXPIRED, 100_000, "platform"),
        (Reason.SUCCEEDED, 0, ""),
        (Reason.FAILED_EXIT_CODE, 0, ""),
        (Reason.STOPPED_BY_USER, 0, ""),
        (Reason.STOPPED_BALANCE_EXHAUSTED, 0, ""),
    ],
)
def test_what_its_last_window_cost_follows_from_whose_fault_an_end_was(
    books: Books, reason: Reason, credited: int, cause: str
) -> None:
    books.deposit(9_000_000)
    billed(books, 800_000)
    billed(books, 800_000)
    terms, placed, stream = books.run()
    books.wait(450)
    books.fund()
    books.wait(550)
    books.report(stream.read(900_000))
    books.capture()
    books.report(stream.read(1_000_000, final=True))
    books.capture()
    assert faults.credit_due(books.session, books.now).made == 0, "it still runs"
    ended(books, placed, reason)
    ended(books, placed, reason)
    for made in (int(credited > 0), 0, 0):
        assert faults.credit_due(books.session, books.now).made == made
    cost = bills.costs(books.session, [terms.job_id])[terms.job_id]
    assert (cost.total_microusd, cost.credited_microusd) == (1_000_000, credited)
    assert [item.cause for item in adjustments.of_jobs(books.session, [terms.job_id])] == [cause] * (credited > 0)
    books.check()


def test_a_lost_attempt_that_was_never_billed_gives_nothing_back(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, _ = books.run()
    ended(books, placed, Reason.FAILED_PROVIDER_LOST)
    books.wait(61)
    books.capture()
    assert faults.credit_due(books.session, books.now).made == 0
    assert books.money() == (1_000_000, 0)
    books.check()


def test_a_lease_that_ran_out_for_want_of_money_or_time_is_its_customers_fault() -> None:
    expired = Reason.STOPPED_LEASE_EXPIRED
    assert fault_of(expired, more_was_due=True, funding_refused=False) is Fault.PLATFORM
    assert fault_of(expired, more_was_due=True, funding_refused=True) is Fault.CUSTOMER
    assert fault_of(expired, more_was_due=False, funding_refused=False) is Fault.CUSTOMER


def test_a_credit_that_the_reserve_does_not_cover_waits_for_it(books: Books) -> None:
    books.deposit(5_000_000)
    _, placed, stream = books.run()
    books.wait(60)
    books.report(stream.read(60_000, final=True))
    ended(books, placed, Reason.STOPPED_LEASE_EXPIRED)
    assert faults.credit_due(books.session, books.now).made == 0
    for _ in range(2):
        billed(books, 899_000)
    assert faults.credit_due(books.session, books.now).made == 1
    assert books.money(ORGANIZATION) == (5_000_000 - 2 * 899_000, 0)
    books.check()


def test_a_credit_that_waits_for_the_reserve_keeps_nobody_waiting(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LEASES_MAX", 1)
    books.deposit(5_000_000)
    leases = []
    for reason in (Reason.STOPPED_LEASE_EXPIRED, Reason.FAILED_PROVIDER_LOST):
        _, placed, stream = books.run()
        books.wait(60)
        books.report(stream.read(60_000, final=True))
        ended(books, placed, reason)
        leases.append(placed.lease_id)
    assert leases == sorted(leases)
    waits = faults.credit_due(books.session, books.now)
    assert waits == faults.Page(0, leases[0])
    assert faults.credit_due(books.session, books.now, after=leases[0]) == faults.Page(1, leases[1])
    assert faults.credit_due(books.session, books.now, after=leases[1]) == faults.Page(0, None)
    books.check()
