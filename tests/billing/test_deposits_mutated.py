"""Deposits in every wrong form there is: what arrived in the treasury under a reference is credited once, nothing else.

The rest is seen by the sweep, kept for an operator, and custody reconciles to the micro-USDC after all of it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from direct_rpc import DirectRpc
from soak_size import size, write_figures
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from solders.token import ID as TOKEN_PROGRAM
from solders.transaction import VersionedTransaction
from sqlalchemy import func, select

from billing.chains.keypairs import load_keypair
from billing.chains.local.faucet import Faucet
from billing.chains.local.genesis import open_chain
from billing.chains.local.jsonrpc import Dispatcher
from billing.chains.local.methods import Methods
from billing.chains.local.slots import Commitment, Timing
from billing.chains.local.view import View
from billing.chains.solana import SolanaChain
from billing.chains.transactions import memo_instruction, sign, transfer_instruction
from billing.ledger import audit, balances
from billing.tables.deposits import DepositCreditRow
from billing.treasury import deposit_watch, deposits, reconciliation, unmatched
from billing.treasury.custody import Custody
from billing.treasury.deposits import Deposit
from billing.treasury.sweep import sweep
from billing.treasury.unmatched import AlreadyAssigned
from infra.database import Database
from market.clock import ManualClock
from market.errors import NotFound

SEEDS, COUNT = size(1, 20), 500
"""Of each seed so many: 10,000 in a soak, which is done in pieces by naming a seed."""
TOKEN_ACCOUNT_BYTES, TOKEN_ACCOUNT_LAMPORTS, INITIALIZE_ACCOUNT_3 = 165, 2_039_280, 18


class Till:
    """A chain, a payer with money, and what the deposits should come to."""

    def __init__(self, database: Database, clock: ManualClock, folder: Path, seed: int = 0) -> None:
        self.database, self.clock, self.random, self._seconds = database, clock, Random(seed), 0.0
        timing = Timing(slot_seconds=1.0, confirmed_after=1, finalized_after=3)
        self.chain, market = open_chain(folder, timing, clock=lambda: self._seconds)
        self.custody = Custody(load_keypair(market.treasury_keypair_path), market.mint)
        self.mint = Pubkey.from_string(market.mint)
        self._faucet = Faucet(self.chain, load_keypair(market.faucet_keypair_path), self.mint)
        self.payer = Keypair()
        self._faucet.airdrop(self.payer.pubkey(), 900 * 10**9)
        self._faucet.mint_test_usdc(self.payer.pubkey(), 10**12)
        rpc = DirectRpc([Dispatcher(self.chain, Methods(View(self.chain), market).table)])
        self.rpc = SolanaChain(rpc.urls, rpc=rpc)
        self.expected: Counter[str] = Counter()
        self.either: dict[str, str] = {}
        self.loose = 0
        self._asked = 0

    def ask(self) -> Deposit:
        self._asked += 1
        with self.database.transaction() as session:
            organization = f"org_{self._asked // 40}"
            return deposits.request(
                session, organization, self.random.randrange(1, 10**6), self.clock.now(), self.custody
            )

    def pay(self, amount: int, *references: str, to: str | None = None) -> Instruction:
        keys = [Pubkey.from_string(reference) for reference in references]
        return transfer_instruction(self.payer.pubkey(), self.mint, to or self.custody.address, amount, keys)

    def send(self, *instructions: Instruction, others: tuple[Keypair, ...] = ()) -> bytes:
        unique = memo_instruction(f"{self.random.random()}")
        blockhash = str(self.chain.blockhash_at(self.chain.height(Commitment.PROCESSED)))
        wire = sign([*instructions, unique], payer=self.payer, blockhash=blockhash, others=others).wire
        self.chain.submit(VersionedTransaction.from_bytes(wire), preflight=False)
        return wire

    def look(self) -> None:
        """Everything that is due is looked for, and everything that happened is swept, each twice."""
        self._seconds += 4
        for _ in range(2):
            self.clock.advance(timedelta(minutes=1))
            deposit_watch.watch(self.database, self.rpc, self.clock, limit=10_000)
            while sweep(self.database, self.rpc, self.custody, self.clock):
                pass


def exact(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(amount, asked.reference))
    till.expected[asked.deposit_id] += amount


def replayed(till: Till, asked: Deposit, amount: int) -> None:
    wire = till.send(till.pay(amount, asked.reference))
    till.chain.submit(VersionedTransaction.from_bytes(wire), preflight=False)
    till.expected[asked.deposit_id] += amount


def unmarked(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(amount))
    till.loose += amount


def under_a_strange_mark(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(amount, str(Keypair().pubkey())))
    till.loose += amount


def to_somebody_else(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(amount, asked.reference, to=str(till.payer.pubkey())))


def more_than_there_is(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(10**15, asked.reference))


def marked_elsewhere(till: Till, asked: Deposit, amount: int) -> None:
    """The reference is on a payment of nothing to oneself, the money comes without one."""
    own = till.pay(1, asked.reference, to=str(till.payer.pubkey()))
    till.send(own, till.pay(amount))
    till.expected[asked.deposit_id] += amount


def partly_marked(till: Till, asked: Deposit, amount: int) -> None:
    till.send(till.pay(amount, asked.reference), till.pay(7))
    till.expected[asked.deposit_id] += amount
    till.loose += 7


def with_anothers(till: Till, asked: Deposit, amount: int) -> None:
    other = till.ask()
    till.send(till.pay(amount, asked.reference), till.pay(11, other.reference))
    till.expected[asked.deposit_id] += amount
    till.expected[other.deposit_id] += 11


def twice_marked(till: Till, asked: Deposit, amount: int) -> None:
    """One transfer that names two deposits is one deposit, whichever was looked for first."""
    other = till.ask()
    till.send(till.pay(amount, asked.reference, other.reference))
    till.expected[asked.deposit_id] += amount
    till.either[other.deposit_id] = asked.deposit_id


def into_a_side_account(till: Till, asked: Deposit, amount: int) -> None:
    """An account in the treasury's name that payouts do not come from."""
    side = Keypair()
    room = create_account(
        CreateAccountParams(
            from_pubkey=till.payer.pubkey(),
            to_pubkey=side.pubkey(),
            lamports=TOKEN_ACCOUNT_LAMPORTS,
            space=TOKEN_ACCOUNT_BYTES,
            owner=TOKEN_PROGRAM,
        )
    )
    owner = bytes(till.custody.signer.pubkey())
    begin = Instruction(
        TOKEN_PROGRAM,
        bytes([INITIALIZE_ACCOUNT_3]) + owner,
        [AccountMeta(side.pubkey(), False, True), AccountMeta(till.mint, False, False)],
    )
    pay = till.pay(amount, asked.reference)
    keys = list(pay.accounts)
    keys[2] = AccountMeta(side.pubkey(), False, True)
    till.send(room, begin, Instruction(TOKEN_PROGRAM, pay.data, keys), others=(side,))


def nothing(till: Till, asked: Deposit, amount: int) -> None:
    """It is asked for and never paid."""


MUTATIONS: list[Callable[[Till, Deposit, int], None]] = [
    exact,
    replayed,
    unmarked,
    under_a_strange_mark,
    to_somebody_else,
    more_than_there_is,
    marked_elsewhere,
    partly_marked,
    with_anothers,
    twice_marked,
    into_a_side_account,
    nothing,
]


@pytest.fixture
def till(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Till]:
    till = Till(database, clock, tmp_path / "chain")
    yield till
    till.chain.close()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_of_mutated_deposits_none_is_credited_wrongly(till: Till, seed: int) -> None:
    till.random.seed(seed)
    for number in range(COUNT):
        mutate = MUTATIONS[number % len(MUTATIONS)] if number < len(MUTATIONS) else till.random.choice(MUTATIONS)
        mutate(till, till.ask(), till.random.randrange(1, 10**5))
        if number % 200 == 199:
            till.look()
    till.look()
    with till.database.read() as session:
        query = select(DepositCreditRow.deposit_id, func.sum(DepositCreditRow.amount_microusd))
        credited: Counter[str] = Counter()
        for deposit_id, amount in session.execute(query.group_by(DepositCreditRow.deposit_id)):
            credited[till.either.get(deposit_id, deposit_id)] += int(amount)
        assert credited == +till.expected
        assert sum(each.amount_microusd for each in unmatched.listed(session)) == till.loose
        assert audit.check(session) == []
    found = reconciliation.reconcile(till.database, till.rpc, till.custody)
    assert found.mismatches == () and found.books.unmatched_microusd == till.loose
    write_figures(f"mutated deposits, seed {seed}", {"deposits": COUNT, "wrong_credits": 0})


def test_an_operator_assigns_unmatched_money_once(till: Till) -> None:
    unmarked(till, till.ask(), 500)
    till.look()
    with till.database.transaction() as session:
        (found,) = unmatched.listed(session)
        assert (found.amount_microusd, found.sender) == (500, str(till.payer.pubkey()))
        made = unmatched.assign(session, found.signature, "org_B", till.clock.now(), till.custody)
        assert (made.state, made.credited_microusd) == ("credited", 500)
        with pytest.raises(AlreadyAssigned):
            unmatched.assign(session, found.signature, "org_C", till.clock.now(), till.custody)
        with pytest.raises(NotFound):
            unmatched.assign(session, "nothing", "org_B", till.clock.now(), till.custody)
    with till.database.read() as session:
        assert balances.of_organization(session, "org_B").available_microusd == 500
        assert unmatched.listed(session) == [] and audit.check(session) == []
    assert reconciliation.reconcile(till.database, till.rpc, till.custody).mismatches == ()


def test_money_under_a_reference_that_nobody_watches_any_more_is_credited_all_the_same(till: Till) -> None:
    asked = till.ask()
    till.clock.advance(timedelta(days=30))
    till.look()
    with till.database.read() as session:
        assert deposits.get(session, asked.organization_id, asked.deposit_id).state == "lapsed"
    exact(till, asked, 300)
    till.look()
    with till.database.read() as session:
        assert deposits.get(session, asked.organization_id, asked.deposit_id).credited_microusd == 300


def test_money_that_leaves_by_another_hand_is_a_mismatch(till: Till) -> None:
    exact(till, till.ask(), 1_000)
    till.look()
    thief = transfer_instruction(till.custody.signer.pubkey(), till.mint, str(till.payer.pubkey()), 400)
    till.send(thief, others=(till.custody.signer,))
    till._seconds += 4
    before = reconciliation.reconcile(till.database, till.rpc, till.custody)
    assert any("not ours" in said for said in before.mismatches)
    till.look()
    after = reconciliation.reconcile(till.database, till.rpc, till.custody)
    assert any("left the treasury" in said for said in after.mismatches)
    assert any("does not cover" in said for said in after.mismatches)
    assert after.difference_microusd == 0
