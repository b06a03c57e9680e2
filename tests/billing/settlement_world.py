"""Settlement on a local chain under a plan of faults: virtual time, a kill anywhere, payees in rounds.

Providers earn, customers withdraw, and others are pulled from by their allowances, which some revoke.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from direct_rpc import DirectRpc
from dying import Dying, Killed
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from billing.chains.keypairs import load_keypair
from billing.chains.local.faucet import Faucet
from billing.chains.local.faults.faces import faces_of
from billing.chains.local.faults.plan import FaultPlan
from billing.chains.local.genesis import open_chain
from billing.chains.local.runtime import token_account
from billing.chains.local.slots import Commitment, Timing
from billing.chains.solana import SolanaChain
from billing.chains.transactions import (
    SignedTransaction,
    approve,
    associated_token_address,
    create_token_account_instruction,
    revoke,
    sign,
)
from billing.ledger import accounts, posting
from billing.settling import allowance_watch, payouts, wallets, withdrawals
from billing.settling.settlement import Settler
from billing.tables.allowances import AllowanceRow, PullRow
from billing.tables.settlement import PayoutRow, SettlementBatchRow, SigningRow
from billing.treasury.custody import Custody
from infra.database import Database
from infra.settings import Settings
from market.clock import ManualClock
from market.ids import new_id

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BAD = "prv_bad"
TIMING = Timing(slot_seconds=0.25, confirmed_after=2, finalized_after=32)
CONFIG = Settings(
    token_account_rent_microusd=700,
    payout_min_microusd=100,
    payout_hold_seconds=10**9,
    wallet_cooldown_seconds=0,
    allowance_pull_min_microusd=100,
)
PROVIDERS_A_CUSTOMER = 4
PROVIDERS_A_PAYER, PAYERS_MIN = 5, 4
PAYERS_HAVE = 10**6
PAUSE_SECONDS_MAX = 12
STEPS_OF_A_PASS = 20
STUCK_SECONDS = 180
ACCOUNTS_PER_TRANSACTION = 8


@dataclass
class Report:
    """owed, paid: micro-USDC; settled_after: virtual seconds from the last fault until nothing was open."""

    owed: int = 0
    paid: int = 0
    overpaid: int = 0
    payouts: int = 0
    pulls_tried: int = 0
    pulls: int = 0
    pulled: int = 0
    kills: int = 0
    passes: int = 0
    settled_after: float = 0.0
    signings: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)


class SettlementWorld:
    """providers earn and customers withdraw in each of the rounds; every tenth wallet has no token account, and one
    provider gave the treasury's address."""

    def __init__(
        self, database: Database, folder: Path, seed: int, providers: int, rounds: int, settler: type[Settler] = Settler
    ) -> None:
        self._database, self._settler, self._random = database, settler, Random(f"world:{seed}")
        self._clock, self._seconds = ManualClock(START), 0.0
        self._chain, market = open_chain(folder, TIMING, clock=lambda: self._seconds)
        self._mint = Pubkey.from_string(market.mint)
        self._custody = Custody(load_keypair(market.treasury_keypair_path), market.mint)
        self._rounds = rounds
        self._owed: Counter[str] = Counter()
        self._providers = {f"prv_{seed}_{number}": str(Keypair().pubkey()) for number in range(providers)}
        customers = range(-(-providers // PROVIDERS_A_CUSTOMER))
        self._customers = {f"org_{seed}_{number}": str(Keypair().pubkey()) for number in customers}
        self._wallets = {**self._providers, **self._customers}
        payers = range(max(PAYERS_MIN, providers // PROVIDERS_A_PAYER))
        self._payers = {f"org_payer_{seed}_{number}": Keypair() for number in payers}
        self._fill(Faucet(self._chain, load_keypair(market.faucet_keypair_path), self._mint))
        self._last_fault = self._seconds + rounds * 75
        plan = FaultPlan(seed, until=self._height + int((self._last_fault - self._seconds) / TIMING.slot_seconds))
        faces, self._weather = faces_of(self._chain, market, plan)
        rpc = DirectRpc(faces)
        self._rpc = SolanaChain(rpc.urls, rpc=rpc)
        self.report = Report()

    def run(self) -> Report:
        """Rounds of earnings under faults and kills, then peace until everything is settled, or it is not in time."""
        opened = 0
        while True:
            if opened < self._rounds and self._seconds >= self._last_fault * opened / self._rounds:
                with suppress(DBAPIError):
                    self._earn()
                    opened += 1
            self._pass(deadly=self._seconds < self._last_fault)
            late = self._seconds - self._last_fault
            if opened == self._rounds and late >= 0 and (late > STUCK_SECONDS or not self._open()):
                break
            self._wait(self._random.uniform(0.5, PAUSE_SECONDS_MAX))
        self.report.settled_after = late
        self.report.stuck = self._open()
        # What was ever sent has landed, or never will.
        self._wait(10 * STUCK_SECONDS)
        self._weather.advance()
        self._count()
        self._chain.close()
        return self.report

    def _pass(self, *, deadly: bool) -> None:
        self.report.passes += 1
        dying = Dying(self._random.randrange(STEPS_OF_A_PASS) if deadly else None)
        chain, database = dying.chain(self._rpc), dying.database(self._database)
        try:
            allowance_watch.watch(database, chain, self._custody, self._clock, CONFIG)
            self._settler(database, chain, self._custody, self._clock, CONFIG).run()
        except (Killed, DBAPIError):
            # On a starved machine PostgreSQL ends a transaction that waits too long: another death.
            self.report.kills += 1

    def _earn(self) -> None:
        with self._database.transaction() as session:
            earned = {name: self._random.randrange(2_000, 9_000) for name in self._wallets}
            transfers = [
                posting.Transfer(
                    f"earned:{self._seconds}:{name}",
                    {accounts.TREASURY: -amount, self._account(name): amount},
                )
                for name, amount in earned.items()
            ]
            posting.post(session, transfers)
            for name, address in self._providers.items():
                wallets.set_wallet(session, name, address, START, CONFIG)
            for name, address in self._customers.items():
                withdrawals.request(
                    session,
                    name,
                    earned[name],
                    address,
                    treasury=self._custody.address,
                    now=self._clock.now(),
                    config=CONFIG,
                )
            wallets.set_wallet(session, BAD, self._custody.address, START, CONFIG)
            posting.post(
                session,
                [posting.Transfer(f"bad:{self._seconds}", {accounts.TREASURY: -500, accounts.payable(BAD): 500})],
            )
            payouts.open_due(session, None, self._clock.now(), CONFIG)
            for row in session.scalars(select(AllowanceRow)):
                row.keep_microusd += self._random.randrange(1_000, 30_000)
        self._meddle()
        self._owed.update(earned)

    def _meddle(self) -> None:
        """A payer revokes, perhaps with a pull in the air; another approves again."""
        for payer in self._random.sample(list(self._payers.values()), 2):
            account = associated_token_address(str(payer.pubkey()), str(self._mint))
            blockhash = str(self._chain.blockhash_at(self._height))
            if self._random.random() < 0.5:
                signed = revoke(owner=payer, token_account=account, blockhash=blockhash)
            else:
                signed = self._approval(payer, blockhash)
            self._chain.submit(VersionedTransaction.from_bytes(signed.wire), preflight=False)

    def _approval(self, payer: Keypair, blockhash: str) -> SignedTransaction:
        return approve(
            owner=payer,
            token_account=associated_token_address(str(payer.pubkey()), str(self._mint)),
            mint=str(self._mint),
            delegate=self._custody.address,
            amount_microusd=PAYERS_HAVE,
            memo=None,
            blockhash=blockhash,
        )

    def _allow(self, faucet: Faucet) -> None:
        """Payers with tokens of their own, who approve; that they own them is proven elsewhere."""
        for payer in self._payers.values():
            faucet.airdrop(payer.pubkey(), 10**9)
            faucet.mint_test_usdc(payer.pubkey(), PAYERS_HAVE)
            signed = self._approval(payer, str(self._chain.blockhash_at(self._height)))
            self._chain.submit(VersionedTransaction.from_bytes(signed.wire), preflight=True)
        with self._database.transaction() as session:
            session.add_all(
                AllowanceRow(
                    id=new_id("alw"),
                    organization_id=name,
                    delegate=self._custody.address,
                    mint=str(self._mint),
                    state="active",
                    keep_microusd=0,
                    token_account=associated_token_address(str(payer.pubkey()), str(self._mint)),
                    owner=str(payer.pubkey()),
                    created_at=START,
                    next_look_at=START,
                )
                for name, payer in self._payers.items()
            )

    def _account(self, name: str) -> str:
        """Where what it has is, before it is on its way."""
        return accounts.payable(name) if name in self._providers else accounts.available(name)

    def _fill(self, faucet: Faucet) -> None:
        """Money for the treasury, and token accounts for nine providers of ten."""
        faucet.mint_test_usdc(Pubkey.from_string(self._custody.address), 10**12)
        self._allow(faucet)
        owners = [Pubkey.from_string(a) for number, a in enumerate(self._wallets.values()) if number % 10]
        payer = self._custody.signer
        for start in range(0, len(owners), ACCOUNTS_PER_TRANSACTION):
            create = [
                create_token_account_instruction(payer=payer.pubkey(), owner=owner, mint=self._mint)
                for owner in owners[start : start + ACCOUNTS_PER_TRANSACTION]
            ]
            signed = sign(create, payer=payer, blockhash=str(self._chain.blockhash_at(self._height)))
            self._chain.submit(VersionedTransaction.from_bytes(signed.wire), preflight=True)
        self._wait(60)

    def _wait(self, seconds: float) -> None:
        self._seconds += seconds
        self._clock.advance(timedelta(seconds=seconds))

    @property
    def _height(self) -> int:
        return self._chain.height(Commitment.PROCESSED)

    def _open(self) -> list[str]:
        with self._database.read() as session:
            open_payouts = session.scalars(select(PayoutRow.id).where(PayoutRow.state == "open")).all()
            undone = session.scalars(select(SettlementBatchRow.id).where(SettlementBatchRow.done_at.is_(None))).all()
            open_pulls = session.scalars(select(PullRow.id).where(PullRow.state == "open")).all()
            return [*open_payouts, *open_pulls, *undone]

    def _on_chain(self, address: str) -> int:
        key = Pubkey.from_string(associated_token_address(address, str(self._mint)))
        token = token_account(self._chain.account(key, self._height))
        return 0 if token is None else token.amount

    def _count(self) -> None:
        report = self.report
        with self._database.read() as session:
            payee = func.coalesce(PayoutRow.provider_id, PayoutRow.organization_id)
            sent = select(payee, func.sum(PayoutRow.amount_microusd - PayoutRow.rent_microusd))
            query = sent.where(PayoutRow.state == "confirmed").group_by(payee)
            confirmed = {row[0]: row[1] for row in session.execute(query)}
            rents = session.scalars(select(PayoutRow.rent_microusd).where(PayoutRow.state == "confirmed")).all()
            report.payouts = len(rents)
            report.signings.update(str(outcome) for outcome in session.scalars(select(SigningRow.outcome)))
            going = [accounts.paying(name) for name in self._providers]
            going += [accounts.withdrawing(name) for name in self._customers]
            still = posting.balances(session, [*going, *map(self._account, self._wallets)])
            tried = session.scalars(select(PullRow)).all()
            pulled = [row for row in tried if row.state == "confirmed"]
            spendable = posting.balances(session, [accounts.available(name) for name in self._payers])
        report.pulls_tried, report.pulls = len(tried), len(pulled)
        for name, payer in self._payers.items():
            taken = PAYERS_HAVE - self._on_chain(str(payer.pubkey()))
            report.pulled += taken
            report.overpaid += max(0, taken - spendable[accounts.available(name)])
            own = sum(row.amount_microusd for row in pulled if row.organization_id == name)
            if not taken == own == spendable[accounts.available(name)]:
                report.stuck.append(f"{name}: the chain took {taken}, pulls say {own}, the ledger {spendable}")
        for name, address in self._wallets.items():
            got = self._on_chain(address)
            report.paid += got
            report.overpaid += max(0, got - int(confirmed.get(name, 0)))
            if got != confirmed.get(name, 0):
                report.stuck.append(f"{name}: the chain has {got}, the ledger {confirmed.get(name, 0)}")
        report.owed = sum(self._owed.values()) - sum(rents) - sum(still.values())
        report.faults = self._weather.counts
