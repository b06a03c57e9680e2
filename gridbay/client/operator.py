"""The SDK for operators: the market at a glance, its ledger, its epochs (/ops/v1)."""

import secrets
from datetime import datetime
from typing import Any

from gridbay.client.party import Answer, Party
from gridbay.client.transport import segment
from gridbay.client.treasury import Adjustment, Adjustments, Assigned, Movement, Movements, Reconciliation
from market.customer_api import IDEMPOTENCY_HEADER, Money
from market.discounts_api import DiscountList, DiscountRequest, DiscountView
from market.provider_api import ConditionView
from market.rounds_api import ReplayView, RoundList, RoundView
from market.shares_api import ShareList, ShareRequest, ShareView


class Payout(Answer):
    payout_id: str
    provider_id: str
    wallet_address: str
    amount: Money
    state: str
    detail: str
    signature: str | None


class Epoch(Answer):
    """A closed epoch. anchor_signature: of the chain transaction that carries its root, once that is finalized."""

    epoch: int
    root: str
    line_count: int
    total: Money
    closed_at: datetime
    anchor_signature: str | None
    payouts: list[Payout]


class _Close(Answer):
    epoch: Epoch | None


class Ledger(Answer):
    """imbalance_microusd: what all entries add up to, 0 if all is well; broken: invariants that do not hold."""

    money: dict[str, Money]
    imbalance_microusd: int
    entries: int
    broken: list[str]


class MarketReport(Answer):
    """rows: by column, in the columns' order. Money in micro-USDC, time in milliseconds, ratios in millionths."""

    report: str
    since: datetime
    until: datetime
    simulated: bool
    columns: list[str]
    rows: list[dict[str, Any]]


class TraceEvent(Answer):
    """by: who wrote it; ids: what it is about; detail: the rest of it."""

    at: datetime | None
    what: str
    by: str
    ids: dict[str, str]
    detail: dict[str, Any]


class JobTrace(Answer):
    """truncated: kinds of rows of which there are more than are told."""

    job_id: str
    trace: str | None
    events: list[TraceEvent]
    truncated: list[str]


class NodeCondition(ConditionView):
    """A condition, and whose node it stands against."""

    node_id: str
    node_name: str
    provider_id: str


class _Conditions(Answer):
    items: list[NodeCondition]


class Operator(Party):
    """A market as seen with an operator's token (gbo_). Errors and threads as in Party."""

    def overview(self) -> dict[str, Any]:
        """The market at a glance, as the portal words it."""
        return self._transport.ask(dict[str, Any], "GET", "/ops/v1/overview")

    def conditions(self) -> list[NodeCondition]:
        """What stands against nodes and GPUs of the whole market, what quarantines first."""
        return self._transport.ask(_Conditions, "GET", "/ops/v1/conditions").items

    def ledger(self) -> Ledger:
        return self._transport.ask(Ledger, "GET", "/ops/v1/ledger")

    def rounds(self, *, limit: int = 50) -> list[RoundView]:
        """The newest rounds of placement on record."""
        return RoundList.model_validate_json(
            self._transport.request("GET", "/ops/v1/rounds", params={"limit": limit}).content
        ).items

    def replay_round(self, round_id: str) -> ReplayView:
        """A recorded round decided again by the market, beside what it came to."""
        return self._transport.ask(ReplayView, "GET", f"/ops/v1/rounds/{segment(round_id)}/replay")

    def shares(self) -> list[ShareView]:
        """What organizations are entitled to beside others, where it is not the usual."""
        return self._transport.ask(ShareList, "GET", "/ops/v1/shares").items

    def set_share(self, organization_id: str, share: ShareRequest) -> ShareView:
        """From the next round on; what it holds it keeps."""
        path = f"/ops/v1/organizations/{segment(organization_id)}/share"
        return self._transport.ask(ShareView, "PUT", path, json=share.model_dump(mode="json"))

    def discounts(self) -> list[DiscountView]:
        """The organizations that pay less than is asked."""
        return self._transport.ask(DiscountList, "GET", "/ops/v1/discounts").items

    def set_discount(self, organization_id: str, discount_basis_points: int) -> DiscountView:
        """From its next lease on; the platform's fee at most."""
        path = f"/ops/v1/organizations/{segment(organization_id)}/discount"
        body = DiscountRequest(discount_basis_points=discount_basis_points).model_dump(mode="json")
        return self._transport.ask(DiscountView, "PUT", path, json=body)

    def reconciliation(self) -> Reconciliation:
        """What custody holds on the chain against what is owed; the portal asks the chain while this waits."""
        return self._transport.ask(Reconciliation, "GET", "/ops/v1/reconciliation")

    def unmatched_deposits(self) -> list[Movement]:
        return self._transport.ask(Movements, "GET", "/ops/v1/unmatched-deposits").items

    def assign_deposit(self, signature: str, organization_id: str) -> Assigned:
        """Credit an unmatched deposit to an organization; a second time it is refused."""
        path = f"/ops/v1/unmatched-deposits/{signature}/assign"
        return self._transport.ask(Assigned, "POST", path, json={"organization_id": organization_id})

    def adjustments(self) -> list[Adjustment]:
        """What was given back of posted charges, newest first."""
        return self._transport.ask(Adjustments, "GET", "/ops/v1/adjustments").items

    def adjust(
        self,
        line_id: str,
        amount_microusd: int | None,
        reason: str,
        *,
        at_cost_of: str = "provider",
        idempotency_key: str | None = None,
    ) -> Adjustment:
        """Give so much of a usage line back (None: all that is left), exactly once for each key.

        at_cost_of: `provider` or `platform` bears the provider's share.
        """
        body = {"line_id": line_id, "amount_microusd": amount_microusd, "reason": reason, "at_cost_of": at_cost_of}
        headers = {IDEMPOTENCY_HEADER: idempotency_key or secrets.token_hex(16)}
        return self._transport.ask(
            Adjustment, "POST", "/ops/v1/adjustments", json=body, headers=headers, repeatable=True
        )

    def close_epoch(self) -> Epoch | None:
        """Close the open epoch and start settling it; None if no usage line was open. Asking twice is asking once."""
        return self._transport.ask(_Close, "POST", "/ops/v1/epochs", repeatable=True).epoch

    def epoch(self, number: int) -> Epoch:
        return self._transport.ask(Epoch, "GET", f"/ops/v1/epochs/{number}")

    def report(
        self,
        name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: list[str] | None = None,
        simulated: bool = False,
    ) -> MarketReport:
        """gmv, utilization, queue-wait or outcomes over [since, until), by hour, day, model, provider, organization."""
        asked = {
            "since": since and since.isoformat(),
            "until": until and until.isoformat(),
            "by": by or [],
            "simulated": simulated,
        }
        answer = self._transport.request("GET", f"/ops/v1/analytics/{name}", params=asked)
        return MarketReport.model_validate_json(answer.content)

    def job_trace(self, job_id: str) -> JobTrace:
        """Everything that happened to a job, in order, from the rows."""
        return JobTrace.model_validate_json(self._transport.request("GET", f"/ops/v1/jobs/{job_id}/trace").content)
