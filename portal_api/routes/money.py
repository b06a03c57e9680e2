"""A customer's money: the balance, deposits and withdrawals."""

from typing import Annotated

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from billing.ledger import balances
from billing.settling import withdrawals
from billing.settling.withdrawals import Withdrawal
from billing.treasury import custody, deposits
from billing.treasury.deposits import Deposit
from market.customer_api import Money
from market.errors import NotFound
from market.funds_api import BalanceView, DepositRequest, DepositView, WithdrawalList, WithdrawalRequest, WithdrawalView
from market.ids import is_id
from portal_api.identity import idempotency
from portal_api.identity.idempotency import Answered, IdempotencyKeyHeader, Intent
from portal_api.identity.principals import BillReader, Payer, Withdrawer
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["money"])
DepositId = Annotated[str, "dep_..."]
WithdrawalId = Annotated[str, "wdr_..."]


@router.get("/balance")
async def get_balance(portal: PortalDep, member: BillReader) -> BalanceView:
    """What the organization can spend now, and what is pending."""
    balance = await portal.threads.read(lambda session: balances.of_organization(session, member.organization_id))
    return BalanceView(
        available=Money.of(balance.available_microusd),
        held=Money.of(balance.held_microusd),
        withdrawing=Money.of(balance.withdrawing_microusd),
        arriving=Money.of(balance.arriving_microusd),
        pending=Money.of(balance.pending_microusd),
    )


@router.post("/deposits", status_code=201, response_model=DepositView)
async def request_deposit(
    portal: PortalDep, member: Payer, request: DepositRequest, key: IdempotencyKeyHeader
) -> Response:
    """Ask how to pay: a Solana Pay transfer request. The money is credited once the chain has finalized it."""
    now = portal.now()
    digest = idempotency.body_digest(request.model_dump_json().encode())
    intent = Intent(member.organization_id, "request_deposit", key, digest)
    answer = await portal.threads.transact(
        lambda session: idempotency.once(
            session,
            intent,
            lambda: Answered(
                201,
                _view(deposits.request(session, member.organization_id, request.amount_microusd, now)).model_dump(
                    mode="json"
                ),
            ),
            now,
        )
    )
    return answer.response(f"/v1/deposits/{answer.body['deposit_id']}")


@router.get("/deposits/{deposit_id}")
async def get_deposit(portal: PortalDep, member: BillReader, deposit_id: DepositId) -> DepositView:
    """A deposit as it is now."""
    if not is_id(deposit_id, "dep"):
        raise NotFound("there is no such deposit here")
    return _view(await portal.threads.read(lambda session: deposits.get(session, member.organization_id, deposit_id)))


@router.post("/withdrawals", status_code=201, response_model=WithdrawalView)
async def request_withdrawal(
    portal: PortalDep, member: Withdrawer, request: WithdrawalRequest, key: IdempotencyKeyHeader
) -> Response:
    """Take available balance back to a wallet of one's own; a wallet that is new here waits for the cool-down."""
    now, config, treasury = portal.now(), portal.base.settings, custody.custody().address
    digest = idempotency.body_digest(request.model_dump_json().encode())
    intent = Intent(member.organization_id, "request_withdrawal", key, digest)

    def ask(session: Session) -> Answered:
        made = withdrawals.request(
            session,
            member.organization_id,
            request.amount_microusd,
            request.wallet_address,
            treasury=treasury,
            now=now,
            config=config,
        )
        return Answered(201, _withdrawal(made).model_dump(mode="json"))

    answer = await portal.threads.transact(lambda session: idempotency.once(session, intent, lambda: ask(session), now))
    return answer.response(f"/v1/withdrawals/{answer.body['withdrawal_id']}")


@router.get("/withdrawals")
async def list_withdrawals(portal: PortalDep, member: BillReader) -> WithdrawalList:
    """The organization's withdrawals, newest first."""
    found = await portal.threads.read(lambda session: withdrawals.of_organization(session, member.organization_id))
    return WithdrawalList(items=[_withdrawal(each) for each in found])


@router.get("/withdrawals/{withdrawal_id}")
async def get_withdrawal(portal: PortalDep, member: BillReader, withdrawal_id: WithdrawalId) -> WithdrawalView:
    """A withdrawal as it is now."""
    _check(withdrawal_id)
    return _withdrawal(
        await portal.threads.read(lambda session: withdrawals.get(session, member.organization_id, withdrawal_id))
    )


@router.post("/withdrawals/{withdrawal_id}/cancel")
async def cancel_withdrawal(portal: PortalDep, member: Withdrawer, withdrawal_id: WithdrawalId) -> WithdrawalView:
    """Give back what still waits; what is on its way to the chain cannot be called back."""
    _check(withdrawal_id)
    now = portal.now()
    return _withdrawal(
        await portal.threads.transact(
            lambda session: withdrawals.cancel(session, member.organization_id, withdrawal_id, now)
        )
    )


def _check(withdrawal_id: str) -> None:
    if not is_id(withdrawal_id, "wdr"):
        raise NotFound("there is no such withdrawal here")


def _withdrawal(found: Withdrawal) -> WithdrawalView:
    return WithdrawalView(
        withdrawal_id=found.withdrawal_id,
        state=found.state,
        amount=Money.of(found.amount_microusd),
        rent=Money.of(found.rent_microusd),
        wallet_address=found.wallet_address,
        created_at=found.created_at,
        payable_from=found.payable_from,
        detail=found.detail,
        signature=found.signature,
    )


def _view(deposit: Deposit) -> DepositView:
    return DepositView(
        deposit_id=deposit.deposit_id,
        state=deposit.state,
        amount=Money.of(deposit.amount_microusd),
        recipient=deposit.recipient,
        mint=deposit.mint,
        reference=deposit.reference,
        memo=deposit.memo,
        solana_pay_url=deposit.solana_pay_url,
        signature=deposit.signature,
        arriving=Money.of(deposit.arriving_microusd),
    )
