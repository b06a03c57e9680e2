"""The SDK for providers: nodes, prices, join tokens, wallet, earnings (/provider/v1)."""

from collections.abc import Mapping

from gridbay.client.party import Party
from gridbay.client.proofs import DeviceProof, DeviceProofs
from gridbay.client.transport import segment
from market.provider_api import EarningsView, JoinTokenView, NodeList, NodeView
from market.resources import Unit
from market.terms_api import NodeTermsView


class Provider(Party):
    """A market as seen with a provider's token (gbp_). Errors and threads as in Party."""

    def nodes(self) -> list[NodeView]:
        return self._transport.ask(NodeList, "GET", "/provider/v1/nodes").items

    def create_join_token(self, *, uses: int = 1, expires_in_hours: int = 24) -> JoinTokenView:
        """A fresh token by which so many machines may join."""
        body = {"name": "gridbay", "uses": uses, "expires_in_hours": expires_in_hours}
        return self._transport.ask(JoinTokenView, "POST", "/provider/v1/join-tokens", json=body)

    def set_wallet(self, address: str | None) -> None:
        """Where payouts go from now on: a wallet's Solana address. Its USDC account is made from first earnings."""
        self._transport.request("PUT", "/provider/v1/wallet", json={"wallet_address": address})

    def terms(self, node_id: str) -> NodeTermsView:
        """What is said of a node beside its offers."""
        return self._transport.ask(NodeTermsView, "GET", f"/provider/v1/nodes/{segment(node_id)}/terms")

    def set_terms(self, node_id: str, terms: NodeTermsView) -> NodeTermsView:
        """Say this of a node from now on; what runs there runs on."""
        path = f"/provider/v1/nodes/{segment(node_id)}/terms"
        return self._transport.ask(NodeTermsView, "PUT", path, json=terms.model_dump(mode="json"))

    def set_price(
        self,
        node_id: str,
        unit: Unit,
        price_microusd_per_unit_hour: int,
        components: Mapping[str, int] | None = None,
        model: str | None = None,
    ) -> NodeView:
        """Ask that much from now on; leases that run keep their price. components: fields of
        market.components.ComponentPrices, asked beside it; what is not named stays as it was. model: of that offer's
        model alone."""
        body = {"unit": unit.value, "price_microusd_per_unit_hour": price_microusd_per_unit_hour, **(components or {})}
        body |= {} if model is None else {"model": model}
        return self._transport.ask(NodeView, "PUT", f"/provider/v1/nodes/{segment(node_id)}/price", json=body)

    def set_payout_terms(self, threshold_microusd: int | None, every_hours: int | None) -> None:
        """From how much on and how often payouts are made; None: as the market has it."""
        terms = {"threshold_microusd": threshold_microusd, "every_hours": every_hours}
        self._transport.request("PUT", "/provider/v1/payout-terms", json=terms)

    def earnings(self) -> EarningsView:
        return self._transport.ask(EarningsView, "GET", "/provider/v1/earnings")

    def proofs(self) -> list[DeviceProof]:
        """Where each device stands, and what it was measured at."""
        return self._transport.ask(DeviceProofs, "GET", "/provider/v1/proofs").items

    def appeal(self, node_id: str, device: str) -> None:
        """Have a banned device challenged again."""
        self._transport.request("POST", f"/provider/v1/nodes/{segment(node_id)}/devices/{segment(device)}/appeal")

    def set_circuit(self, watts: int | None) -> None:
        """What all GPUs may draw at once in a proof; None: no limit."""
        self._transport.request("PUT", "/provider/v1/circuit", json={"circuit_watts": watts})
