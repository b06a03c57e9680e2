"""Providers: their nodes, prices, join tokens, wallet and earnings."""

from datetime import datetime, timedelta

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from billing.settling import earnings, wallets
from market.customer_api import Money
from market.errors import NotFound
from market.ids import is_id
from market.money import PRICE_MAX_MICROUSD
from market.resources import Unit
from portal_api.identity import tokens
from portal_api.identity.principals import SignedInProvider
from portal_api.identity.tokens import TokenKind
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.supply import nodes, offers, providers
from scheduler.tables import Node, Offer

router = APIRouter(route_class=StrictRoute, prefix="/provider/v1", tags=["provider"])
JOIN_HOURS_MAX, JOIN_USES_MAX = 24 * 30, 1_000


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AskView(BaseModel):
    """What is asked for one unit and hour."""

    offer_id: str
    unit: Unit
    model: str
    price_per_unit_hour: Money


class NodeView(BaseModel):
    """state: online, lost or gone; pool: how its Ray pool fares."""

    node_id: str
    name: str
    hostname: str
    state: str
    pool: str
    simulated: bool
    sandbox: str
    agent_version: str
    cpu_total_milli: int
    cpu_free_milli: int
    memory_total_bytes: int
    memory_free_bytes: int
    joined_at: datetime
    last_seen_at: datetime
    offers: list[AskView]


class NodeList(BaseModel):
    items: list[NodeView]


class JoinTokenRequest(_Request):
    """uses: how many machines may join by it; None is any number."""

    name: str = Field(default="join", min_length=1, max_length=100)
    uses: int | None = Field(default=1, ge=1, le=JOIN_USES_MAX)
    expires_in_hours: int = Field(default=24, ge=1, le=JOIN_HOURS_MAX)


class JoinTokenView(BaseModel):
    """token: shown this once."""

    token_id: str
    token: str
    uses: int | None
    expires_at: datetime


class WalletRequest(_Request):
    """wallet_address: a Solana address, or null to keep what is earned until there is one."""

    wallet_address: str | None = Field(max_length=60)


class WalletView(BaseModel):
    provider_id: str
    wallet_address: str | None


class PriceRequest(_Request):
    unit: Unit
    price_microusd_per_unit_hour: int = Field(ge=0, le=PRICE_MAX_MICROUSD)


class EarningsView(BaseModel):
    """payable: earned and not sent yet; paying: on its way; paid: confirmed by the chain; wallet_address: where to."""

    payable: Money
    paying: Money
    paid: Money
    wallet_address: str | None


@router.get("/nodes")
async def list_nodes(portal: PortalDep, provider: SignedInProvider) -> NodeList:
    """The provider's nodes with what each asks."""

    def read(session: Session) -> NodeList:
        own = nodes.of_provider(session, provider.provider_id)
        return NodeList(items=[_node_view(node, offers.of_node(session, node.id)) for node in own])

    return await portal.threads.read(read)


@router.post("/join-tokens", status_code=201)
async def create_join_token(portal: PortalDep, provider: SignedInProvider, request: JoinTokenRequest) -> JoinTokenView:
    """A token by which machines join this provider."""
    now = portal.now()
    expires_at = now + timedelta(hours=request.expires_in_hours)
    issued = await portal.threads.transact(
        lambda session: tokens.issue(
            session,
            TokenKind.JOIN,
            now,
            name=request.name,
            provider_id=provider.provider_id,
            expires_at=expires_at,
            uses_left=request.uses,
        )
    )
    return JoinTokenView(token_id=issued.row.id, token=issued.text, uses=request.uses, expires_at=expires_at)


@router.put("/wallet")
async def put_wallet(portal: PortalDep, provider: SignedInProvider, request: WalletRequest) -> WalletView:
    """Where payouts go from now on."""
    if request.wallet_address is not None:
        wallets.require_address(request.wallet_address)
    row = await portal.threads.transact(
        lambda session: providers.set_wallet(session, provider.provider_id, request.wallet_address)
    )
    return WalletView(provider_id=row.id, wallet_address=row.wallet_address)


@router.put("/nodes/{node_id}/price")
async def set_price(portal: PortalDep, provider: SignedInProvider, node_id: str, request: PriceRequest) -> NodeView:
    """Ask that price from now on; leases that run keep theirs."""
    if not is_id(node_id, "node"):
        raise NotFound("there is no such node here")
    now = portal.now()

    def change(session: Session) -> NodeView:
        asked = offers.set_price(
            session, provider.provider_id, node_id, request.unit, request.price_microusd_per_unit_hour, now
        )
        return _node_view(session.get_one(Node, node_id), asked)

    return await portal.threads.transact(change)


@router.get("/earnings")
async def get_earnings(portal: PortalDep, provider: SignedInProvider) -> EarningsView:
    """What the provider has earned: waiting, on its way, paid."""
    found = await portal.threads.read(lambda session: earnings.of_provider(session, provider.provider_id))
    return EarningsView(
        payable=Money.of(found.payable_microusd),
        paying=Money.of(found.paying_microusd),
        paid=Money.of(found.paid_microusd),
        wallet_address=found.wallet_address,
    )


def _node_view(node: Node, asked: list[Offer]) -> NodeView:
    return NodeView(
        node_id=node.id,
        name=node.name,
        hostname=node.hostname,
        state=node.state.value,
        pool=node.pool.value,
        simulated=node.simulated,
        sandbox=node.sandbox,
        agent_version=node.agent_version,
        cpu_total_milli=node.cpu_total_milli,
        cpu_free_milli=node.cpu_free_milli,
        memory_total_bytes=node.memory_total_bytes,
        memory_free_bytes=node.memory_free_bytes,
        joined_at=node.joined_at,
        last_seen_at=node.last_seen_at,
        offers=[
            AskView(
                offer_id=offer.id,
                unit=offer.unit,
                model=offer.model,
                price_per_unit_hour=Money.of(offer.price_microusd_per_unit_hour),
            )
            for offer in asked
        ],
    )
