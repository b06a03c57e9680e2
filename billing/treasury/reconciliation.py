"""Reconciling custody: what the market owes and has in flight, against what the chain says the treasury holds.

Load, ask the chain, decide: the decision is pure. What the last sweep has not seen is explained from the history, and
rows that changed meanwhile are looked at again, so that a busy market reconciles to the micro-USDC too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.chains.port import Chain, SignatureState
from billing.ledger import accounts, posting
from billing.tables.allowances import PullRow
from billing.tables.deposits import DepositCreditRow, TreasuryMovementRow, TreasurySweepRow
from billing.tables.ledger import AccountRow
from billing.tables.settlement import PayoutRow, SigningRow
from billing.treasury.custody import Custody
from billing.treasury.sweep import news
from infra.database import Database
from market.errors import Unavailable

LOOKS_MAX = 5
FLIGHTS_MAX = 100


@dataclass(frozen=True, slots=True)
class Flight:
    """A signing that may still land. state: as the chain has it; amount_microusd: what it takes from custody.

    A pull brings something instead: its amount is below 0.
    """

    signature: str
    batch_id: str
    amount_microusd: int
    state: SignatureState = SignatureState.UNKNOWN
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """liabilities_microusd: what custody must hold by the ledger, and by kind of account whose it is.

    unmatched: what came in and is nobody's yet.
    """

    liabilities_microusd: int
    by_kind: tuple[tuple[str, int], ...]
    unmatched_microusd: int
    unexplained_out_microusd: int
    flights: tuple[Flight, ...]
    swept_to: str | None


@dataclass(frozen=True, slots=True)
class Chained:
    """unswept: what each transaction above the last sweep moved, by signature."""

    custody_microusd: int
    lamports: int
    unswept: dict[str, int]
    flights: tuple[Flight, ...]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    books: Books
    chained: Chained
    difference_microusd: int
    mismatches: Sequence[str]


def reconcile(database: Database, chain: Chain, custody: Custody) -> Reconciliation:
    """Raises ChainError while the chain does not answer, Unavailable if the rows never hold still."""
    for _ in range(LOOKS_MAX):
        with database.read() as session:
            books = load(session, custody)
        chained = ask(chain, custody, books)
        with database.read() as session:
            known = explained(session, chained)
            if load(session, custody) == books:
                return decide(books, chained, known)
    raise Unavailable("money moved at each of several looks", remedy="ask again in a moment")


def load(session: Session, custody: Custody) -> Books:
    """What the rows say."""
    owed = -posting.balances(session, [accounts.TREASURY])[accounts.TREASURY]
    kinds = (
        select(AccountRow.kind, func.sum(AccountRow.balance_microusd))
        .where(AccountRow.kind != "treasury")
        .group_by(AccountRow.kind)
        .order_by(AccountRow.kind)
    )
    amount = TreasuryMovementRow.amount_microusd
    unmatched, out = session.execute(
        select(
            func.coalesce(func.sum(amount).filter(amount > 0), 0),
            func.coalesce(func.sum(amount).filter(amount < 0), 0),
        ).where(TreasuryMovementRow.deposit_id.is_(None))
    ).one()
    # A pull is alone in its batch, and payouts are not in it.
    pulled = func.coalesce(func.max(PullRow.amount_microusd), 0)
    sent = func.coalesce(func.sum(PayoutRow.amount_microusd - PayoutRow.rent_microusd), 0) - pulled
    flights = session.execute(
        select(SigningRow.signature, SigningRow.batch_id, sent)
        .outerjoin(PayoutRow, (PayoutRow.batch_id == SigningRow.batch_id) & (PayoutRow.state == "open"))
        .outerjoin(PullRow, (PullRow.batch_id == SigningRow.batch_id) & (PullRow.state == "open"))
        .where(SigningRow.outcome.is_(None))
        .group_by(SigningRow.signature, SigningRow.batch_id)
        .order_by(SigningRow.signature)
        .limit(FLIGHTS_MAX)
    )
    swept = session.get(TreasurySweepRow, custody.token_account)
    return Books(
        liabilities_microusd=owed,
        by_kind=tuple((kind, int(total)) for kind, total in session.execute(kinds)),
        unmatched_microusd=int(unmatched),
        unexplained_out_microusd=-int(out),
        flights=tuple(Flight(signature, batch_id, int(amount)) for signature, batch_id, amount in flights),
        swept_to=swept.signature if swept is not None else None,
    )


def ask(chain: Chain, custody: Custody, books: Books) -> Chained:
    """What the chain says of it, finalized. Raises ChainError."""
    states = {status.signature: status for status in chain.signature_statuses([f.signature for f in books.flights])}
    unswept = {}
    for line in news(chain, custody.token_account, books.swept_to):
        transaction = None if line.failed else chain.read_transaction(line.signature)
        if transaction is not None and transaction.failure is None:
            unswept[line.signature] = transaction.account_delta(custody.token_account)
    flights = tuple(
        Flight(
            flight.signature,
            flight.batch_id,
            flight.amount_microusd,
            states[flight.signature].state,
            states[flight.signature].failure is not None,
        )
        for flight in books.flights
    )
    return Chained(
        custody_microusd=chain.token_balance(custody.address, custody.mint),
        lamports=chain.sol_balance(custody.address),
        unswept=unswept,
        flights=flights,
    )


def explained(session: Session, chained: Chained) -> dict[str, int]:
    """What of the unswept the ledger knows already, by signature: credited deposits, transactions of our own."""
    signatures = list(chained.unswept)
    credit = select(DepositCreditRow.signature, func.sum(DepositCreditRow.amount_microusd)).where(
        DepositCreditRow.signature.in_(signatures)
    )
    known = {row[0]: int(row[1]) for row in session.execute(credit.group_by(DepositCreditRow.signature))}
    own = session.scalars(select(SigningRow.signature).where(SigningRow.signature.in_(signatures)))
    return known | {signature: chained.unswept[signature] for signature in own}


def decide(books: Books, chained: Chained, known: Mapping[str, int]) -> Reconciliation:
    """Every mismatch, in words; none when all is explained. known: of the unswept, what the ledger knows."""
    unswept = sum(moved - known.get(signature, 0) for signature, moved in chained.unswept.items())
    left = sum(f.amount_microusd for f in chained.flights if f.state is SignatureState.FINALIZED and not f.failed)
    expected = books.liabilities_microusd + books.unmatched_microusd - books.unexplained_out_microusd
    difference = chained.custody_microusd - (expected + unswept - left)
    found = []
    if difference:
        found.append(
            f"custody holds {chained.custody_microusd} micro-USDC, which is {abs(difference)} "
            f"{'more' if difference > 0 else 'less'} than liabilities, unmatched money and what is in flight explain"
        )
    strange = sum(1 for signature, moved in chained.unswept.items() if moved < 0 and signature not in known)
    if strange:
        found.append(f"{strange} new transactions took money out of the treasury and are not ours")
    if books.unexplained_out_microusd:
        found.append(f"{books.unexplained_out_microusd} micro-USDC left the treasury by transactions that are not ours")
    if chained.custody_microusd + left < books.liabilities_microusd:
        found.append("custody does not cover what is owed")
    return Reconciliation(books, chained, difference, tuple(found))
