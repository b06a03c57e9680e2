"""The SDK for providers: nodes, prices, join tokens, wallet, earnings (/provider/v1)."""

from datetime import datetime

from gridbay.client.party import Answer, Party
from gridbay.client.proofs import DeviceProof, DeviceProofs
from gridbay.client.transport import segment
from market.customer_api import Money
from market.resources import Unit


class Ask(Answer):
    """What is asked for one unit and hour."""

    offer_id: str
    unit: Unit
    model: str
    price_per_unit_hour: Money


class Condition(Answer):
    """What stands against a node, or one of its GPUs (gpu_uuid). quarantines: nothing is placed there meanwhile."""

    gpu_uuid: str | None
    code: str
    quarantines: bool
    reason: str
    remedy: str
    detail: str
    began_at: datetime


class Gpu(Answer):
    """One device of a node. present: the agent sees it now."""

    uuid: str
    index: int
    model: str
    present: bool
    quarantined: bool


class NodeView(Answer):
    """state: online, lost or gone; pool: how its Ray pool fares; quarantined: nothing is placed on any of it."""

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
    offers: list[Ask]
    quarantined: bool = False
    gpus: list[Gpu] = []
    conditions: list[Condition] = []


class _Nodes(Answer):
    items: list[NodeView]


class JoinToken(Answer):
    """token: shown this once; uses: how many machines may join by it."""

    token: str
    uses: int | None
    expires_at: datetime


class Earnings(Answer):
    """payable: earned and not sent yet; paying: on its way; paid: confirmed by the chain; wallet_address: where to.

    rent: kept for making the wallet's token account; payable_from: nothing is sent to a changed address before; held:
    why the chain cannot pay it.
    """

    payable: Money
    paying: Money
    paid: Money
    wallet_address: str | None
    rent: Money | None = None
    payable_from: datetime | None = None
    threshold_microusd: int | None = None
    every_hours: int | None = None
    held: str = ""


class Provider(Party):
    """A market as seen with a provider's token (gbp_). Errors and threads as in Party."""

    def nodes(self) -> list[NodeView]:
        return self._transport.ask(_Nodes, "GET", "/provider/v1/nodes").items

    def create_join_token(self, *, uses: int = 1, expires_in_hours: int = 24) -> JoinToken:
        """A fresh token by which so many machines may join."""
        body = {"name": "gridbay", "uses": uses, "expires_in_hours": expires_in_hours}
        return self._transport.ask(JoinToken, "POST", "/provider/v1/join-tokens", json=body)

    def set_wallet(self, address: str | None) -> None:
        """Where payouts go from now on: a Solana address whose USDC account exists."""
        self._transport.request("PUT", "/provider/v1/wallet", json={"wallet_address": address})

    def set_price(self, node_id: str, unit: Unit, price_microusd_per_unit_hour: int) -> NodeView:
        """Ask that much from now on; leases that run keep their price."""
        body = {"unit": unit.value, "price_microusd_per_unit_hour": price_microusd_per_unit_hour}
        return self._transport.ask(NodeView, "PUT", f"/provider/v1/nodes/{segment(node_id)}/price", json=body)

    def set_payout_terms(self, threshold_microusd: int | None, every_hours: int | None) -> None:
        """From how much on and how often payouts are made; None: as the market has it."""
        terms = {"threshold_microusd": threshold_microusd, "every_hours": every_hours}
        self._transport.request("PUT", "/provider/v1/payout-terms", json=terms)

    def earnings(self) -> Earnings:
        return self._transport.ask(Earnings, "GET", "/provider/v1/earnings")

    def proofs(self) -> list[DeviceProof]:
        """Where each device stands, and what it was measured at."""
        return self._transport.ask(DeviceProofs, "GET", "/provider/v1/proofs").items

    def appeal(self, node_id: str, device: str) -> None:
        """Have a banned device challenged again."""
        self._transport.request("POST", f"/provider/v1/nodes/{segment(node_id)}/devices/{segment(device)}/appeal")

    def set_circuit(self, watts: int | None) -> None:
        """What all GPUs may draw at once in a proof; None: no limit."""
        self._transport.request("PUT", "/provider/v1/circuit", json={"circuit_watts": watts})
