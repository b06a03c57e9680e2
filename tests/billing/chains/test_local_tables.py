"""Lookup tables on the real runtime: made, grown, read by several faces, and paid through, 48 at once."""

import pytest
from local_net import LocalNet, result
from solders.keypair import Keypair

from billing.chains.lookup_tables import ENTRIES_PER_TRANSACTION_MAX, Table, table_address
from billing.chains.payments import (
    MEMO_BYTES_MAX,
    NEW_ACCOUNTS_MAX,
    TABLE_PAYMENTS_MAX,
    Payment,
    payment_of,
    payout_batch,
    table_growth,
)
from billing.chains.port import ChainRefused, SignatureState
from billing.chains.transactions import WIRE_BYTES_MAX, TransactionTooLarge, associated_token_address

MEMO = "m" * MEMO_BYTES_MAX


def grow(net: LocalNet, address: str | None, entries: list[str], slot: int) -> None:
    signed = table_growth(
        treasury=net.treasury_key,
        address=address,
        recent_slot=slot,
        entries=entries,
        memo=MEMO,
        blockhash=net.chain.latest_blockhash().value,
        unit_price_microlamports=10**6,
    )
    assert len(signed.wire) <= WIRE_BYTES_MAX
    net.chain.send(signed.wire)
    net.finalize()
    assert net.chain.finalized_status(signed.signature).failure is None  # type: ignore[union-attr]


def table_of(net: LocalNet, owners: list[str]) -> Table:
    """A finalized table of the mint, the treasury's account and these owners' accounts."""
    wallets = [associated_token_address(owner, net.mint) for owner in (net.treasury, *owners)]
    entries = [net.mint, *wallets]
    slot, address = net.chain.finalized_slot(), None
    for start in range(0, len(entries), ENTRIES_PER_TRANSACTION_MAX):
        grow(net, address, entries[start : start + ENTRIES_PER_TRANSACTION_MAX], slot)
        address = table_address(net.treasury_key.pubkey(), slot)
    assert address is not None
    assert net.chain.table_entries(address) == tuple(entries)
    return Table(address, tuple(entries))


def fill(net: LocalNet) -> None:
    net.chain.send(net.deposit(net.wallet(10**9), 10**9))
    net.finalize()


def test_a_full_batch_goes_through_a_table_and_is_read_as_it_was_paid(net: LocalNet) -> None:
    fill(net)
    owners = [str(net.wallet(1, lamports=0).pubkey()) for _ in range(TABLE_PAYMENTS_MAX)]
    table = table_of(net, owners)
    payments = [Payment(owner, 10**6 + number) for number, owner in enumerate(owners)]
    before = net.chain.sol_balance(net.treasury)
    signed = payout_batch(
        treasury=net.treasury_key,
        mint=net.mint,
        payments=payments,
        memo=MEMO,
        blockhash=net.chain.latest_blockhash().value,
        unit_price_microlamports=1,
        table=table,
    )
    assert WIRE_BYTES_MAX - 12 < len(signed.wire) <= WIRE_BYTES_MAX
    assert net.chain.simulate(signed.wire).failure is None
    net.chain.send(signed.wire)
    net.finalize()
    landed = net.chain.read_transaction(signed.signature)
    assert landed is not None and landed.failure is None and landed.memos == (MEMO,)
    assert [landed.token_delta(each.owner, net.mint) for each in payments] == [p.amount_microusd for p in payments]
    assert [item.amount for item in landed.transfers] == [p.amount_microusd for p in payments]
    assert (before - net.chain.sol_balance(net.treasury)) / TABLE_PAYMENTS_MAX < 130
    shown = result(
        net.url, "getTransaction", signed.signature, {"maxSupportedTransactionVersion": 0, "encoding": "jsonParsed"}
    )
    sources = [key["source"] for key in shown["transaction"]["message"]["accountKeys"]]
    assert sources.count("lookupTable") == TABLE_PAYMENTS_MAX + 2
    with pytest.raises(TransactionTooLarge, match="1 to 48"):
        payout_batch(
            treasury=net.treasury_key, mint=net.mint, payments=payments * 2, memo="m", blockhash=net.mint, table=table
        )


def test_a_table_that_names_others_pays_others_so_its_entries_are_asked_of_several(net: LocalNet) -> None:
    fill(net)
    right, wrong = str(net.wallet(1).pubkey()), str(net.wallet(1).pubkey())
    table = table_of(net, [wrong])
    believed = Table(table.address, (*table.entries[:-1], associated_token_address(right, net.mint)))
    signed = payout_batch(
        treasury=net.treasury_key,
        mint=net.mint,
        payments=[Payment(right, 5)],
        memo="m",
        blockhash=net.chain.latest_blockhash().value,
        table=believed,
    )
    net.chain.send(signed.wire)
    net.finalize()
    assert (net.chain.token_balance(right, net.mint), net.chain.token_balance(wrong, net.mint)) == (1, 6)
    assert net.chain.table_entries(table.address) != believed.entries


def test_a_table_that_is_not_there_lands_nothing(net: LocalNet) -> None:
    owner = str(net.wallet(1).pubkey())
    nowhere = Table(str(Keypair().pubkey()), (net.mint, associated_token_address(owner, net.mint)))
    signed = payout_batch(
        treasury=net.treasury_key,
        mint=net.mint,
        payments=[Payment(owner, 5)],
        memo="m",
        blockhash=net.chain.latest_blockhash().value,
        table=nowhere,
    )
    assert net.chain.simulate(signed.wire).failure is not None
    net.chain.send(signed.wire)
    net.finalize()
    assert net.chain.signature_statuses([signed.signature])[0].state is SignatureState.UNKNOWN
    assert net.chain.table_entries(nowhere.address) is None


def test_accounts_are_made_by_the_batch_that_pays_into_them_and_blame_finds_its_payment(net: LocalNet) -> None:
    fill(net)
    there = str(net.wallet(1).pubkey())
    owners = [str(Keypair().pubkey()) for _ in range(NEW_ACCOUNTS_MAX)]
    assert net.chain.missing_token_accounts([there, *owners], net.mint) == frozenset(owners)
    payments = [Payment(owner, 7, new_account=True) for owner in owners]
    signed = payout_batch(
        treasury=net.treasury_key,
        mint=net.mint,
        payments=payments,
        memo=MEMO,
        blockhash=net.chain.latest_blockhash().value,
        unit_price_microlamports=10**6,
    )
    assert len(signed.wire) <= WIRE_BYTES_MAX
    net.chain.send(signed.wire)
    net.finalize()
    assert [net.chain.token_balance(owner, net.mint) for owner in owners] == [7] * NEW_ACCOUNTS_MAX
    assert net.chain.missing_token_accounts([there, *owners], net.mint) == frozenset()
    mixed = [Payment(there, 1), Payment(owners[0], 1, new_account=True)]
    assert [payment_of(mixed, number) for number in (0, 1, 2, 3, None)] == [1, 0, 1, None, None]


def test_nobody_bids_on_the_local_chain(net: LocalNet) -> None:
    assert set(net.chain.priority_prices([net.treasury])) == {0}
    with pytest.raises(ChainRefused):
        net.chain.priority_prices(["nobody"])
