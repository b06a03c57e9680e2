"""The transactions Gridbay signs: right for other people's decoders, bounded, and the same each time."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.token.instructions import decode_transfer_checked, get_associated_token_address

from billing.chains.keypairs import ensure_keypair, load_keypair
from billing.chains.local import base58
from billing.chains.payments import MEMO_BYTES_MAX, PAYMENTS_MAX, Payment, payout_batch
from billing.chains.transactions import (
    WIRE_BYTES_MAX,
    SignedTransaction,
    TransactionTooLarge,
    associated_token_address,
    deposit,
    memo_anchor,
)

TREASURY, MINT, BLOCKHASH = Keypair(), str(Keypair().pubkey()), str(Keypair().pubkey())


def batch(payments: list[Payment], memo: str = "batch", price: int = 0) -> SignedTransaction:
    return payout_batch(
        treasury=TREASURY,
        mint=MINT,
        payments=payments,
        memo=memo,
        blockhash=BLOCKHASH,
        unit_price_microlamports=price,
    )


def somebody(amount: int = 1) -> Payment:
    return Payment(str(Keypair().pubkey()), amount)


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=PAYMENTS_MAX))
def test_instruction_i_of_a_batch_is_payment_i_as_solana_py_reads_it(amounts: list[int]) -> None:
    payments = [somebody(amount) for amount in amounts]
    signed = batch(payments, price=1000)
    transaction = VersionedTransaction.from_bytes(signed.wire)
    message = transaction.message
    assert isinstance(message, Message)
    assert all(transaction.verify_with_results())
    assert str(transaction.signatures[0]) == signed.signature
    mint = Pubkey.from_string(MINT)
    for index, payment in enumerate(payments):
        read = decode_transfer_checked(_decompiled(message, index))
        assert (read.amount, read.decimals, read.mint, read.owner) == (
            payment.amount_microusd,
            6,
            mint,
            TREASURY.pubkey(),
        )
        assert read.source == get_associated_token_address(TREASURY.pubkey(), mint)
        assert read.dest == get_associated_token_address(Pubkey.from_string(payment.owner), mint)
    assert _decompiled(message, len(payments)).program_id == MEMO_PROGRAM_ID


def _decompiled(message: Message, index: int) -> Instruction:
    compiled, keys, header = message.instructions[index], message.account_keys, message.header
    writable_signed = header.num_required_signatures - header.num_readonly_signed_accounts
    writable_end = len(keys) - header.num_readonly_unsigned_accounts
    accounts = [
        AccountMeta(
            keys[key],
            is_signer=message.is_signer(key),
            is_writable=key < writable_signed or header.num_required_signatures <= key < writable_end,
        )
        for key in compiled.accounts
    ]
    return Instruction(keys[compiled.program_id_index], compiled.data, accounts)


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    payments = [somebody(2**64 - 1) for _ in range(PAYMENTS_MAX)]
    assert len(batch(payments, "m" * MEMO_BYTES_MAX, price=10**6).wire) <= WIRE_BYTES_MAX
    with pytest.raises(TransactionTooLarge, match="1 to 17"):
        batch([*payments, somebody()])
    with pytest.raises(TransactionTooLarge, match="1 to 17"):
        batch([])


def test_a_memo_is_bounded_in_bytes_not_in_letters() -> None:
    with pytest.raises(TransactionTooLarge, match="76 bytes"):
        batch([somebody()], "é" * 39)
    with pytest.raises(TransactionTooLarge, match="1232"):
        memo_anchor(payer=TREASURY, memo="x" * 1200, blockhash=BLOCKHASH)
    with pytest.raises(ValueError, match="empty"):
        memo_anchor(payer=TREASURY, memo="", blockhash=BLOCKHASH)


@pytest.mark.parametrize("amount", [0, -1, 2**64])
def test_an_amount_the_token_program_cannot_move_is_refused(amount: int) -> None:
    with pytest.raises(ValueError, match="micro-USDC"):
        batch([somebody(), somebody(amount)])


def test_the_same_payout_signs_to_the_same_bytes() -> None:
    payments = [somebody(5), somebody(7)]
    assert batch(payments) == batch(payments)
    assert batch(payments).signature != batch(payments, memo="another batch").signature


def test_a_deposit_has_the_shape_of_solana_pay() -> None:
    payer, reference = Keypair(), Keypair().pubkey()
    wire = deposit(
        payer=payer,
        treasury=str(TREASURY.pubkey()),
        mint=MINT,
        amount_microusd=9,
        memo="m",
        reference=str(reference),
        blockhash=BLOCKHASH,
    ).wire
    message = VersionedTransaction.from_bytes(wire).message
    assert isinstance(message, Message)
    memo, transfer = (_decompiled(message, index) for index in range(2))
    assert memo.program_id == MEMO_PROGRAM_ID
    read = decode_transfer_checked(transfer)
    assert (read.owner, read.amount) == (payer.pubkey(), 9)
    assert str(read.dest) == associated_token_address(str(TREASURY.pubkey()), MINT)
    last = transfer.accounts[-1]
    assert (last.pubkey, last.is_signer, last.is_writable) == (reference, False, False)


def test_a_keypair_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    made = ensure_keypair(path)
    assert ensure_keypair(path) == load_keypair(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key.json"]
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        load_keypair(path)


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", json.dumps([256] * 64), json.dumps([7] * 64)])
def test_what_is_no_keypair_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="not a Solana keypair file") as raised:
        load_keypair(path)
    assert raised.value.__cause__ is None


@given(st.binary(max_size=64))
def test_base58_is_what_solana_writes(data: bytes) -> None:
    assert base58.decode(base58.encode(data)) == data
    if len(data) == 32:
        assert base58.encode(data) == str(Pubkey(data))
