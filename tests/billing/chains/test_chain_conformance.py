"""What billing may rely on from any chain, shown against the local one through the port that it uses itself."""

import random
from collections.abc import Callable

import pytest
from local_net import TIMING, LocalNet
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.transaction import VersionedTransaction
from spl.token import models
from spl.token.constants import MINT_LEN, TOKEN_PROGRAM_ID
from spl.token.instructions import create_associated_token_account, initialize_mint2, mint_to_checked

from billing.chains.payments import Payment, payout_batch
from billing.chains.port import ChainRefused, SignatureState
from billing.chains.solana import SolanaChain
from billing.chains.transactions import (
    SignedTransaction,
    associated_token_address,
    create_token_account,
    deposit,
    memo_anchor,
    sign,
)


def state(net: LocalNet, signature: str) -> SignatureState:
    return net.chain.signature_statuses([signature])[0].state


def payout(net: LocalNet, *payments: Payment, memo: str = "batch") -> SignedTransaction:
    blockhash = net.chain.latest_blockhash().value
    return payout_batch(treasury=net.treasury_key, mint=net.mint, payments=payments, memo=memo, blockhash=blockhash)


def test_a_deposit_is_found_by_its_reference_and_tells_who_paid_how_much(net: LocalNet) -> None:
    customer, reference = net.wallet(microusd=5_000_000), str(Keypair().pubkey())
    signature = net.chain.send(net.deposit(customer, 3_250_001, reference, memo="order 7"))
    net.finalize()

    (found,) = net.chain.signatures_for_address(reference)
    assert (found.signature, found.memo, found.failed) == (signature, "[7] order 7", False)
    assert found.block_time is not None
    read = net.chain.read_transaction(signature)
    assert read is not None and read.failure is None
    assert read.memos == ("order 7",)
    assert reference in read.account_keys
    assert read.token_delta(net.treasury, net.mint) == 3_250_001
    assert read.token_delta(str(customer.pubkey()), net.mint) == -3_250_001
    (transfer,) = read.transfers
    assert (transfer.instruction, transfer.amount, transfer.mint) == (1, 3_250_001, net.mint)
    assert transfer.references == (reference,)
    assert transfer.destination == associated_token_address(net.treasury, net.mint)
    assert net.chain.token_balance(net.treasury, net.mint) == 3_250_001


def test_a_deposit_in_another_mint_does_not_count_as_this_one(net: LocalNet) -> None:
    forger, fake = net.wallet(), Keypair()
    found_mint(net, forger, fake, owners=[str(forger.pubkey()), net.treasury], amount=10**9)
    reference = str(Keypair().pubkey())
    signature = net.chain.send(
        deposit(
            payer=forger,
            treasury=net.treasury,
            mint=str(fake.pubkey()),
            amount_microusd=10**9,
            memo="mine",
            reference=reference,
            blockhash=net.chain.latest_blockhash().value,
        ).wire
    )
    net.finalize()
    read = net.chain.read_transaction(signature)
    assert read is not None and read.failure is None
    assert read.token_delta(net.treasury, str(fake.pubkey())) == 10**9
    assert read.token_delta(net.treasury, net.mint) == 0
    assert net.chain.token_balance(net.treasury, net.mint) == 0


def found_mint(net: LocalNet, payer: Keypair, mint: Keypair, owners: list[str], amount: int) -> None:
    """Another token, made with solana-py's own builders; the first owner gets the amount."""
    minimum = 1_461_600
    accounts = [create_associated_token_account(payer.pubkey(), Pubkey.from_string(o), mint.pubkey()) for o in owners]
    instructions = [
        create_account(
            CreateAccountParams(
                from_pubkey=payer.pubkey(),
                to_pubkey=mint.pubkey(),
                lamports=minimum,
                space=MINT_LEN,
                owner=TOKEN_PROGRAM_ID,
            )
        ),
        initialize_mint2(
            models.InitializeMint2Params(
                decimals=6, program_id=TOKEN_PROGRAM_ID, mint=mint.pubkey(), mint_authority=payer.pubkey()
            )
        ),
        *accounts,
        mint_to_checked(
            models.MintToCheckedParams(
                program_id=TOKEN_PROGRAM_ID,
                mint=mint.pubkey(),
                dest=Pubkey.from_string(associated_token_address(owners[0], str(mint.pubkey()))),
                mint_authority=payer.pubkey(),
                amount=amount,
                decimals=6,
            )
        ),
    ]
    signed = sign(instructions, payer=payer, blockhash=net.chain.latest_blockhash().value, others=[mint])
    net.chain.send(signed.wire)
    net.finalize()


def test_a_full_payout_batch_pays_everybody_exactly(net: LocalNet) -> None:
    net.chain.send(net.deposit(net.wallet(microusd=10**9), 10**9))
    providers = [str(net.wallet(microusd=1, lamports=0).pubkey()) for _ in range(17)]
    payments = [Payment(owner, 1_000 + n) for n, owner in enumerate(providers)]
    signed = payout(net, *payments, memo="gridbay payout 0190f4c2-7b1e")
    assert net.chain.send(signed.wire) == signed.signature
    net.finalize()

    read = net.chain.read_transaction(signed.signature)
    assert read is not None and read.failure is None
    assert [t.amount for t in read.transfers] == [p.amount_microusd for p in payments]
    for payment in payments:
        assert read.token_delta(payment.owner, net.mint) == payment.amount_microusd
        assert net.chain.token_balance(payment.owner, net.mint) == payment.amount_microusd + 1
    assert read.token_delta(net.treasury, net.mint) == -sum(p.amount_microusd for p in payments)
    assert read.fee_lamports == 5_000


def test_the_same_bytes_sent_again_execute_once(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    wire = net.deposit(customer, 4)
    first = net.chain.send(wire)
    for _ in range(3):
        net.blocks(50)
        assert net.chain.send(wire) == first
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 6


def test_a_transaction_becomes_final_with_the_blocks_and_is_read_only_then(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    wire = net.deposit(customer, 4)
    signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
    # a deposit names the treasury's token account, and nowhere the treasury itself
    account = associated_token_address(net.treasury, net.mint)
    assert state(net, signature) == SignatureState.UNKNOWN
    net.chain.send(wire)
    for expected in (SignatureState.PROCESSED, SignatureState.CONFIRMED, SignatureState.CONFIRMED):
        assert state(net, signature) == expected
        assert net.chain.read_transaction(signature) is None
        assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 10
        assert signature not in {f.signature for f in net.chain.signatures_for_address(account)}
        net.blocks(1)
    assert state(net, signature) == SignatureState.FINALIZED
    assert net.chain.read_transaction(signature) is not None
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 6
    assert net.chain.signatures_for_address(account)[0].signature == signature


def test_one_bad_recipient_fails_the_batch_and_is_named_by_simulation_and_status(net: LocalNet) -> None:
    net.chain.send(net.deposit(net.wallet(microusd=1000), 1000))
    good, without_account = net.wallet(microusd=1, lamports=0), Keypair()
    signed = payout(net, Payment(str(good.pubkey()), 5), Payment(str(without_account.pubkey()), 5))
    simulated = net.chain.simulate(signed.wire)
    assert simulated.failure is not None and simulated.failure.instruction == 1

    before = net.chain.sol_balance(net.treasury)
    net.chain.send(signed.wire)
    net.finalize()
    (status,) = net.chain.signature_statuses([signed.signature])
    assert status.state == SignatureState.FINALIZED
    assert status.failure == simulated.failure
    read = net.chain.read_transaction(signed.signature)
    assert read is not None and read.failure == simulated.failure
    assert read.token_delta(str(good.pubkey()), net.mint) == 0
    assert net.chain.token_balance(str(good.pubkey()), net.mint) == 1
    assert before - net.chain.sol_balance(net.treasury) == read.fee_lamports == 5_000
    assert net.chain.signatures_for_address(net.treasury)[0].failed


def test_more_than_there_is_fails_in_simulation_and_moves_nothing(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    wire = net.deposit(customer, 11)
    simulated = net.chain.simulate(wire)
    assert simulated.failure is not None
    assert (simulated.failure.reason, simulated.failure.instruction) == ("Custom 1", 1)
    assert any("insufficient funds" in line for line in simulated.logs)
    signature = net.chain.send(wire)
    net.finalize()
    assert net.chain.signature_statuses([signature])[0].failure == simulated.failure
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 10


def test_simulation_changes_nothing(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    assert net.chain.simulate(net.deposit(customer, 10)).failure is None
    net.finalize()
    assert net.chain.token_balance(str(customer.pubkey()), net.mint) == 10


def test_simulation_judges_the_payments_and_not_the_age_of_the_blockhash(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    good, bad = net.deposit(customer, 10), net.deposit(customer, 11)
    net.blocks(1_000)
    assert net.chain.simulate(good).failure is None
    failure = net.chain.simulate(bad).failure
    assert failure is not None and failure.instruction == 1


def test_balances_become_final_in_the_order_of_their_blocks(net: LocalNet) -> None:
    customer = net.wallet(microusd=10)
    for amount in (1, 2, 4):
        net.chain.send(net.deposit(customer, amount))
        net.blocks(1)
    final = []
    for _ in range(4):
        final.append(net.chain.token_balance(str(customer.pubkey()), net.mint))
        net.blocks(1)
    assert final == [9, 7, 3, 3]


def test_a_sender_who_cannot_pay_the_fee_leaves_no_trace(net: LocalNet) -> None:
    beggar = net.wallet(microusd=10, lamports=0)
    signature = net.chain.send(net.deposit(beggar, 1))
    net.finalize()
    assert state(net, signature) == SignatureState.UNKNOWN


def test_a_blockhash_serves_to_its_last_valid_height_and_not_beyond(net: LocalNet) -> None:
    blockhash = net.chain.latest_blockhash()
    in_time = memo_anchor(payer=net.treasury_key, memo="in time", blockhash=blockhash.value)
    late = memo_anchor(payer=net.treasury_key, memo="late", blockhash=blockhash.value)
    newest = net.chain.finalized_block_height() + TIMING.finalized_after
    net.blocks(blockhash.last_valid_block_height - newest)
    net.chain.send(in_time.wire)
    net.blocks(1)
    net.chain.send(late.wire)
    net.finalize()
    assert state(net, in_time.signature) == SignatureState.FINALIZED
    assert state(net, late.signature) == SignatureState.UNKNOWN
    assert not net.chain.is_expired_everywhere(in_time.signature, blockhash.last_valid_block_height)
    assert net.chain.is_expired_everywhere(late.signature, blockhash.last_valid_block_height)


def test_nothing_is_expired_before_the_finalized_height_has_passed(net: LocalNet) -> None:
    blockhash = net.chain.latest_blockhash()
    unsent = memo_anchor(payer=net.treasury_key, memo="unsent", blockhash=blockhash.value)
    net.blocks(blockhash.last_valid_block_height - net.chain.finalized_block_height())
    assert net.chain.finalized_block_height() == blockhash.last_valid_block_height
    assert not net.chain.is_expired_everywhere(unsent.signature, blockhash.last_valid_block_height)
    net.blocks(1)
    assert net.chain.is_expired_everywhere(unsent.signature, blockhash.last_valid_block_height)


def test_expired_means_expired_at_every_rpc(net: LocalNet, nets: Callable[[str], LocalNet]) -> None:
    other = nets("other")
    both = SolanaChain([net.url, other.url])
    blockhash = net.chain.latest_blockhash()
    signed = memo_anchor(payer=net.treasury_key, memo="anchor", blockhash=blockhash.value)
    net.blocks(200)
    assert net.chain.is_expired_everywhere(signed.signature, blockhash.last_valid_block_height)
    # the other one lags: its blocks have not passed the height
    assert not both.is_expired_everywhere(signed.signature, blockhash.last_valid_block_height)
    other.blocks(200)
    assert both.is_expired_everywhere(signed.signature, blockhash.last_valid_block_height)
    # the other one knows a signature that the first has never seen
    known = memo_anchor(payer=other.treasury_key, memo="x", blockhash=other.chain.latest_blockhash().value)
    other.chain.send(known.wire)
    assert net.chain.is_expired_everywhere(known.signature, 1)
    assert not both.is_expired_everywhere(known.signature, 1)


def test_an_old_signature_is_still_known(net: LocalNet) -> None:
    signature = net.chain.send(net.deposit(net.wallet(microusd=1), 1))
    net.blocks(10_000)
    assert state(net, signature) == SignatureState.FINALIZED


def test_an_address_is_read_newest_first_in_pages_without_gaps(net: LocalNet) -> None:
    customer, reference = net.wallet(microusd=100), str(Keypair().pubkey())
    sent = []
    for n in range(7):
        sent.append(net.chain.send(net.deposit(customer, 1 + n, reference)))
        net.blocks(random.choice((0, 1)))
    net.finalize()
    newest_first = sent[::-1]

    def page(**bounds: object) -> list[str]:
        return [f.signature for f in net.chain.signatures_for_address(reference, **bounds)]  # type: ignore[arg-type]

    assert page() == newest_first
    assert page(limit=3) == newest_first[:3]
    assert page(limit=3, before=newest_first[2]) == newest_first[3:6]
    assert page(until=newest_first[4]) == newest_first[:4]
    assert page(until=newest_first[0]) == []
    assert page(until=newest_first[5], before=newest_first[1], limit=2) == newest_first[2:4]


def test_a_token_account_is_made_once_and_making_it_again_is_harmless(net: LocalNet) -> None:
    provider, owner = net.wallet(), str(Keypair().pubkey())
    for _ in range(2):
        blockhash = net.chain.latest_blockhash().value
        signed = create_token_account(payer=provider, owner=owner, mint=net.mint, blockhash=blockhash)
        net.chain.send(signed.wire)
        net.finalize()
        assert net.chain.signature_statuses([signed.signature])[0].failure is None
    spent = 10**9 - net.chain.sol_balance(str(provider.pubkey()))
    assert spent == 2_039_280 + 2 * 5_000
    assert net.chain.token_balance(owner, net.mint) == 0


def test_what_does_not_exist_has_nothing(net: LocalNet) -> None:
    nobody = str(Keypair().pubkey())
    assert net.chain.sol_balance(nobody) == 0
    assert net.chain.token_balance(nobody, net.mint) == 0
    assert net.chain.signatures_for_address(nobody) == []


def test_a_forged_signature_is_refused(net: LocalNet) -> None:
    signed = VersionedTransaction.from_bytes(net.deposit(net.wallet(microusd=1), 1))
    forged = VersionedTransaction.populate(signed.message, [Keypair().sign_message(b"something else")])
    with pytest.raises(ChainRefused, match="signature verification"):
        net.chain.send(bytes(forged))


def test_a_memo_that_is_no_text_fails_and_is_still_readable(net: LocalNet) -> None:
    memo_program = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
    payer = net.treasury_key
    instruction = Instruction(memo_program, b"\xff\xfe", [AccountMeta(payer.pubkey(), True, False)])
    signed = sign([instruction], payer=payer, blockhash=net.chain.latest_blockhash().value)
    net.chain.send(signed.wire)
    net.finalize()
    read = net.chain.read_transaction(signed.signature)
    assert read is not None and read.failure is not None and read.failure.instruction == 0
    assert read.memos == ("\ufffd\ufffd",)
