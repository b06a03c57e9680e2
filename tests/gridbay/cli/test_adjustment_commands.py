"""`gridbay admin adjust`: a part of a posted charge given back, and what people read of it."""

from served_market import ServedMarket
from typed_command import Gridbay
from views import JOB_ID, NOON

from gridbay.client.treasury import Adjustment, Adjustments
from market.customer_api import AdjustmentView, CostView, Money

MADE = Adjustment(
    adjustment_id="adj_1", line_id="line_1", job_id=JOB_ID, organization_id="org_1", provider_id="prv_1",
    amount=Money.of(50_000), provider_share=Money.of(47_500), fee=Money.of(2_500), rounding=Money.of(0),
    owed=Money.of(40_000), cause="operator", reason="a full disk", adjusted_at=NOON,
)  # fmt: skip


def test_a_part_of_a_line_is_given_back_under_a_key(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("POST /ops/v1/adjustments", MADE)
    typed = ("admin", "adjust", "line_1", "--amount", "0.05", "--reason", "a full disk", "--key", "ticket-1")
    ended = gridbay(*typed, "--platform")
    assert ended.code == 0 and "0.05 USDC to org_1: 0.0475 of the provider's share" in ended.out
    assert "0.04 USDC by prv_1" in ended.out
    asked = logged_in.seen[-1]
    assert asked.headers["idempotency-key"] == "ticket-1"
    assert asked.json() == {
        "line_id": "line_1", "amount_microusd": 50_000, "reason": "a full disk", "at_cost_of": "platform"
    }  # fmt: skip
    gridbay("admin", "adjust", "line_1", "--reason", "x")
    asked = logged_in.seen[-1]
    assert (asked.json()["amount_microusd"], asked.json()["at_cost_of"]) == (None, "provider")
    assert len(asked.headers["idempotency-key"]) == 32
    assert gridbay("admin", "adjust", "line_1", "--reason", "x", "--amount", "much").code == 2
    assert gridbay("admin", "adjust", "line_1").code == 2, "somebody reads the reason"


def test_what_was_given_back_is_listed(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /ops/v1/adjustments", Adjustments(items=[]))
    assert gridbay("admin", "adjustments").out == "no charge was corrected\n"
    logged_in.on("GET /ops/v1/adjustments", Adjustments(items=[MADE]))
    for words in ("line_1", "0.05", "0.0475", "operator", "a full disk"):
        assert words in gridbay("admin", "adjustments").out


def test_a_bill_shows_what_was_given_back(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    given = AdjustmentView(
        adjustment_id="adj_1", line_id="line_1", amount=Money.of(50_000), cause="provider",
        reason="its node was lost", adjusted_at=NOON,
    )  # fmt: skip
    bill = CostView(
        job_id=JOB_ID, total=Money.of(90_000), held=Money.of(0), highest_cost=Money.of(100_000), lines=[],
        credited=Money.of(50_000), adjustments=[given],
    )  # fmt: skip
    logged_in.on("GET /v1/jobs/{}/cost", bill)
    shown = gridbay("cost", JOB_ID).out
    for words in ("given back  0.05 USDC", "its node was lost", "line_1"):
        assert words in shown
