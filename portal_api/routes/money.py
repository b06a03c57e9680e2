"""A customer's money: the balance and deposits."""

from typing import Annotated

from fastapi import APIRouter, Response

from billing.ledger import balances
from billing.treasury import deposits
from billing.treasury.deposits import Deposit
from market.customer_api import BalanceView, DepositRequest, DepositView, Money
from market.errors import NotFound
from market.ids import is_id
from portal_api.identity import idempotency
from portal_api.identity.idempotency import Answered, IdempotencyKeyHeader, Intent
from portal_api.identity.principals import BillReader, Payer
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["money"])
DepositId = Annotated[str, "dep_..."]


@router.get("/balance")
async def get_balance(portal: PortalDep, member: BillReader) -> BalanceView:
    """What the organization can spend, and what is held for its jobs."""
    balance = await portal.threads.read(lambda session: balances.of_organization(session, member.organization_id))
    return BalanceView(available=Money.of(balance.available_microusd), held=Money.of(balance.held_microusd))


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
    )
