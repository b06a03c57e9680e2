"""Providers: their nodes, prices, join tokens, wallet and earnings."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from billing.settling import earnings, wallets
from market.components import ComponentPrices
from market.customer_api import Money
from market.errors import NotFound
from market.ids import is_id
from market.money import COMPONENT_PRICE_MAX_MICROUSD, PRICE_MAX_MICROUSD
from market.provider_api import EarningsView, JoinTokenView, MinuteView, NodeList, NodeView
from market.resources import Unit
from market.terms_api import NodeTermsView
from portal_api.identity import tokens
from portal_api.identity.principals import SignedInProvider
from portal_api.identity.tokens import TokenKind
from portal_api.node_views import minute_view, node_views
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.supply import health, nodes, prices, providers, terms
from scheduler.tables import Node

router = APIRouter(route_class=StrictRoute, prefix="/provider/v1", tags=["provider"])
JOIN_HOURS_MAX, JOIN_USES_MAX = 24 * 30, 1_000
MINUTES_MAX, MINUTE_ROWS_MAX = 24 * 60, 10_000


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MinuteList(BaseModel):
    items: list[MinuteView]


class JoinTokenRequest(_Request):
    """uses: how many machines may join by it; None is any number."""

    name: str = Field(default="join", min_length=1, max_length=100)
    uses: int | None = Field(default=1, ge=1, le=JOIN_USES_MAX)
    expires_in_hours: int = Field(default=24, ge=1, le=JOIN_HOURS_MAX)


class WalletRequest(_Request):
    """wallet_address: a Solana address, or null to keep what is earned until there is one."""

    wallet_address: str | None = Field(max_length=60)


class WalletView(BaseModel):
    provider_id: str
    wallet_address: str | None


ComponentPrice = Annotated[int | None, Field(default=None, ge=0, le=COMPONENT_PRICE_MAX_MICROUSD)]


class PriceRequest(_Request):
    """Beside the units: what is asked for a CPU beside GPUs, a GiB of memory, a GiB of disk; null: as now.

    model: of one offer alone, as the node has it; null: of every one of that unit.
    """

    unit: Unit
    model: str | None = Field(default=None, min_length=1, max_length=80)
    price_microusd_per_unit_hour: int = Field(ge=0, le=PRICE_MAX_MICROUSD)
    cpu_microusd_per_hour: ComponentPrice
    memory_microusd_per_gib_hour: ComponentPrice
    disk_microusd_per_gib_hour: ComponentPrice


class PayoutTerms(_Request):
    """From how much on, and how often at most; null: as the market has it."""

    threshold_microusd: int | None = Field(ge=1, le=10**12)
    every_hours: int | None = Field(ge=1, le=24 * 31)


@router.get("/nodes")
async def list_nodes(portal: PortalDep, provider: SignedInProvider) -> NodeList:
    """The provider's nodes with what each asks."""

    def read(session: Session) -> NodeList:
        own = nodes.of_provider(session, provider.provider_id)
        return NodeList(items=node_views(session, own))

    return await portal.threads.read(read)


@router.get("/nodes/{node_id}/minutes")
async def list_minutes(
    portal: PortalDep,
    provider: SignedInProvider,
    node_id: str,
    minutes: Annotated[int, Query(ge=1, le=MINUTES_MAX)] = 60,
) -> MinuteList:
    """The telemetry of a node's GPUs by the minute, the newest first; what is older than a day is not kept."""
    _check(node_id)
    since = portal.now() - timedelta(minutes=minutes)
    found = await portal.threads.read(
        lambda session: health.minutes_of(session, provider.provider_id, node_id, since, limit=MINUTE_ROWS_MAX)
    )
    return MinuteList(items=[minute_view(uuid, minute) for uuid, minute in found])


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


@router.put("/payout-terms")
async def put_payout_terms(portal: PortalDep, provider: SignedInProvider, request: PayoutTerms) -> PayoutTerms:
    """From how much on and how often this provider is paid, from now on."""
    now = portal.now()
    every = request.every_hours * 3600 if request.every_hours is not None else None
    await portal.threads.transact(
        lambda session: wallets.set_terms(session, provider.provider_id, request.threshold_microusd, every, now)
    )
    return request


@router.put("/nodes/{node_id}/price")
async def set_price(portal: PortalDep, provider: SignedInProvider, node_id: str, request: PriceRequest) -> NodeView:
    """Ask that price from now on; leases that run keep theirs."""
    _check(node_id)
    now, price = portal.now(), request.price_microusd_per_unit_hour
    components = request.model_dump(include=set(ComponentPrices._fields), exclude_none=True)

    def change(session: Session) -> NodeView:
        prices.set_price(session, provider.provider_id, node_id, request.unit, price, now, components, request.model)
        return node_views(session, [session.get_one(Node, node_id)])[0]

    return await portal.threads.transact(change)


@router.get("/nodes/{node_id}/terms")
async def get_node_terms(portal: PortalDep, provider: SignedInProvider, node_id: str) -> NodeTermsView:
    """What is said of a node beside its offers."""
    _check(node_id)
    return await portal.threads.read(lambda session: terms.get(session, provider.provider_id, node_id))


@router.put("/nodes/{node_id}/terms")
async def put_node_terms(
    portal: PortalDep, provider: SignedInProvider, node_id: str, request: NodeTermsView
) -> NodeTermsView:
    """Say it anew, all of it; what runs there runs on."""
    _check(node_id)
    now = portal.now()
    return await portal.threads.transact(
        lambda session: terms.put(session, provider.provider_id, node_id, request, now)
    )


@router.get("/earnings")
async def get_earnings(portal: PortalDep, provider: SignedInProvider) -> EarningsView:
    """What the provider has earned: waiting, on its way, paid."""
    found = await portal.threads.read(lambda session: earnings.of_provider(session, provider.provider_id))
    return EarningsView(
        payable=Money.of(found.payable_microusd),
        paying=Money.of(found.paying_microusd),
        paid=Money.of(found.paid_microusd),
        rent=Money.of(found.rent_microusd),
        wallet_address=found.wallet_address,
        payable_from=found.payable_from,
        threshold_microusd=found.threshold_microusd,
        every_hours=found.every_seconds // 3600 if found.every_seconds is not None else None,
        held=found.held,
        reversed=Money.of(found.reversed_microusd),
        owed=Money.of(found.owed_microusd),
    )


def _check(node_id: str) -> None:
    if not is_id(node_id, "node"):
        raise NotFound("there is no such node here")
