"""A customer with a wallet of its own, the market, and the chain between them: what allowances are tested with."""

from datetime import timedelta

from books import ORGANIZATION
from dying import Dying
from local_net import LocalNet
from solders.keypair import Keypair
from test_settlement import settle, settle_all

from billing.chains.transactions import approve, associated_token_address, deposit, revoke
from billing.ledger import audit, balances
from billing.settling import allowance_watch, allowances
from billing.settling.allowances import Allowance
from billing.treasury import reconciliation
from billing.treasury.custody import Custody
from billing.treasury.sweep import sweep
from infra.database import Database
from infra.settings import Settings
from market.clock import ManualClock

USDC = 1_000_000
CONFIG = Settings()


class Till:
    """What the customer has on the chain is `held`."""

    def __init__(self, database: Database, clock: ManualClock, net: LocalNet, purse: int = 10 * USDC) -> None:
        self.database, self.clock, self.net = database, clock, net
        self.custody = Custody(net.treasury_key, net.mint)
        self.owner = net.wallet(purse)
        self.account = associated_token_address(str(self.owner.pubkey()), net.mint)

    def ask(self, keep: int = USDC, daily: int | None = None, owner: str = ORGANIZATION) -> Allowance:
        with self.database.transaction() as session:
            return allowances.put(
                session, owner, keep, daily, custody=self.custody, now=self.clock.now(), config=CONFIG
            )

    def approve(self, memo: str | None, amount: int = 5 * USDC, by: Keypair | None = None, **changed: str) -> str:
        by = by or self.owner
        terms = {"token_account": associated_token_address(str(by.pubkey()), self.net.mint), "mint": self.net.mint}
        terms |= {"delegate": self.net.treasury} | changed
        blockhash = self.net.chain.latest_blockhash().value
        signed = approve(owner=by, amount_microusd=amount, memo=memo, blockhash=blockhash, **terms)
        self.net.chain.send(signed.wire)
        self.net.finalize()
        return signed.signature

    def offer(self, signature: str, owner: str = ORGANIZATION) -> None:
        with self.database.transaction() as session:
            allowances.offer(session, owner, signature, self.clock.now(), CONFIG)
        self.look()

    def look(self, seconds: float = 5) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        allowance_watch.watch(self.database, self.net.chain, self.custody, self.clock, CONFIG)

    def open(self, keep: int = USDC, amount: int = 5 * USDC, daily: int | None = None) -> None:
        self.offer(self.approve(self.ask(keep, daily).memo, amount))
        assert self.found().state == "active", self.found().detail

    def found(self, owner: str = ORGANIZATION) -> Allowance:
        with self.database.read() as session:
            return allowances.get(session, owner, CONFIG)

    def pull(self, dying: Dying | None = None) -> None:
        """Look, and settle what follows from it to its end."""
        self.look()
        settle(self.database, self.clock, self.net, dying)
        settle_all(self.database, self.clock, self.net, dying)

    def revoke(self) -> None:
        blockhash = self.net.chain.latest_blockhash().value
        self.net.chain.send(revoke(owner=self.owner, token_account=self.account, blockhash=blockhash).wire)
        self.net.finalize()

    def empty(self) -> None:
        """The owner sends all that it has elsewhere."""
        blockhash, elsewhere = self.net.chain.latest_blockhash().value, self.net.wallet(1)
        signed = deposit(
            payer=self.owner,
            treasury=str(elsewhere.pubkey()),
            mint=self.net.mint,
            amount_microusd=self.held,
            memo="elsewhere",
            reference=str(Keypair().pubkey()),
            blockhash=blockhash,
        )
        self.net.chain.send(signed.wire)
        self.net.finalize()

    @property
    def held(self) -> int:
        return self.net.chain.token_balance(str(self.owner.pubkey()), self.net.mint)

    def available(self) -> int:
        with self.database.read() as session:
            return balances.of_organization(session, ORGANIZATION).available_microusd

    def pulled(self) -> list[tuple[str, int]]:
        with self.database.read() as session:
            return [(each.state, each.amount_microusd) for each in allowances.pulls_of(session, ORGANIZATION)]

    def check(self) -> None:
        """Books, chain and custody say the same; the sweep finds nothing strange."""
        sweep(self.database, self.net.chain, self.custody, self.clock)
        assert reconciliation.reconcile(self.database, self.net.chain, self.custody).mismatches == ()
        with self.database.read() as session:
            assert audit.check(session) == []
