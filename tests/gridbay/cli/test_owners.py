"""The commands of providers and operators: what they ask of the market, and what they print."""

import json
from typing import Any

import pytest
from served_market import Answer, Seen, ServedMarket
from typed_command import Gridbay
from views import NOON

from gridbay.client.operator import Epoch, Ledger, NodeCondition, Payout
from market.customer_api import ComponentPricesView, Money
from market.provider_api import AskView, ConditionView, EarningsView, GpuView, JoinTokenView, NodeView
from market.resources import Unit


def node(name: str = "amber", *, gpus: bool = False, **more: Any) -> NodeView:
    asks = [AskView(offer_id="off_1", unit=Unit.CPU, model="cpu", price_per_unit_hour=Money.of(20_000))]
    if gpus:
        asks.append(AskView(offer_id="off_2", unit=Unit.GPU, model="H100", price_per_unit_hour=Money.of(2_000_000)))
    known: dict[str, Any] = {
        "node_id": f"node_{name}", "name": name, "hostname": name, "state": "online", "pool": "ready",
        "simulated": False, "sandbox": "bubblewrap", "agent_version": "0.1.0", "cpu_total_milli": 4000,
        "cpu_free_milli": 3000, "memory_total_bytes": 10**10, "memory_free_bytes": 5 * 10**9, "joined_at": NOON,
        "last_seen_at": NOON, "driver_version": None, "cuda_version": None, "quarantined": False, "gpus": [],
        "conditions": [], "offers": asks,
    }  # fmt: skip
    return NodeView(**{**known, **more})


def epoch(*payouts: Payout, anchor: str | None = None) -> Epoch:
    return Epoch(
        epoch=4, root="ab" * 32, line_count=2, total=Money.of(99), closed_at=NOON, anchor_signature=anchor,
        payouts=list(payouts),
    )  # fmt: skip


def payout(state: str, detail: str = "", signature: str | None = None) -> Payout:
    return Payout(
        payout_id="pay_1", provider_id="prv_1", wallet_address="W" * 40, amount=Money.of(94), state=state,
        detail=detail, signature=signature,
    )  # fmt: skip


def nodes(*views: NodeView) -> Answer:
    return Answer(json.dumps({"items": [view.model_dump(mode="json") for view in views]}).encode())


@pytest.fixture
def provider(logged_in: ServedMarket) -> ServedMarket:
    def priced(seen: Seen) -> Answer:
        asked = AskView(offer_id="off_1", unit=seen.json()["unit"], model="cpu", price_per_unit_hour=Money.of(350_000))
        return Answer(node(offers=[asked]))

    logged_in.on("GET /provider/v1/nodes", nodes(node()))
    logged_in.on("PUT /provider/v1/nodes/{}/price", priced)
    return logged_in


def test_status(provider: ServedMarket, gridbay: Gridbay) -> None:
    ended = gridbay("provider", "status")
    for words in ("amber", "online", "CPU at 0.02 USDC", "3 of 4", "bubblewrap"):
        assert words in ended.out
    assert gridbay("provider", "status", "-o", "quiet").out == "node_amber\n"


def test_a_price_is_set_where_it_is_clear_what_is_meant(provider: ServedMarket, gridbay: Gridbay) -> None:
    assert gridbay("provider", "price", "set", "0.35").out == "amber: CPU at 0.35 USDC an hour\n"
    (asked,) = provider.asked("PUT /provider/v1/nodes/{}/price")
    assert (asked.path.split("/")[4], asked.json()) == (
        "node_amber",
        {"unit": "cpu", "price_microusd_per_unit_hour": 350_000},
    )
    provider.on("GET /provider/v1/nodes", nodes(node(gpus=True), node("birch")))
    assert "say --node with one of: amber, birch" in gridbay("provider", "price", "set", "1").err
    assert "say --unit gpu or --unit cpu" in gridbay("provider", "price", "set", "1", "--node", "amber").err
    assert gridbay("provider", "price", "set", "1", "--node", "node_amber", "--unit", "gpu").code == 0
    ended = gridbay("provider", "price", "set", "1", "--node", "cedar")
    assert (ended.code, "your nodes: amber, birch" in ended.err) == (1, True)
    assert gridbay("provider", "price", "set", "-1").code == 2
    assert len(provider.asked("PUT /provider/v1/nodes/{}/price")) == 2


@pytest.mark.parametrize(
    ("said", "meant"),
    [("H100", "NVIDIA H100"), ("1g.10gb", "NVIDIA H100 MIG 1g.10gb"), ("NVIDIA H100 MIG 3g.40gb", None), ("MIG", None)],
)
def test_one_model_of_a_node_is_priced_by_itself(
    provider: ServedMarket, gridbay: Gridbay, said: str, meant: str | None
) -> None:
    models = ("NVIDIA H100", "NVIDIA H100 MIG 1g.10gb", "NVIDIA H100 MIG 2g.20gb")
    asks = [
        AskView(offer_id=f"off_{at}", unit=Unit.GPU, model=model, price_per_unit_hour=Money.of(20_000))
        for at, model in enumerate(models)
    ]
    provider.on("GET /provider/v1/nodes", nodes(node(offers=asks)))
    provider.on("PUT /provider/v1/nodes/{}/price", node(offers=asks))
    ended = gridbay("provider", "price", "set", "0.02", "--model", said)
    sent = [seen.json()["model"] for seen in provider.asked("PUT /provider/v1/nodes/{}/price")]
    assert (ended.code == 0, sent) == ((True, [meant]) if meant else (False, []))
    assert meant or "say one of: NVIDIA H100, " in ended.err


def test_what_is_taken_beside_the_units_is_priced_where_it_is_named(provider: ServedMarket, gridbay: Gridbay) -> None:
    beside = ComponentPricesView(
        cpu_per_hour=Money.of(0), memory_per_gib_hour=Money.of(1_000), disk_per_gib_hour=Money.of(100)
    )
    asked = AskView(
        offer_id="off_1", unit=Unit.CPU, model="cpu", price_per_unit_hour=Money.of(20_000), components=beside
    )
    provider.on("PUT /provider/v1/nodes/{}/price", node(offers=[asked]))
    ended = gridbay("provider", "price", "set", "0.02", "--memory", "0.001", "--disk", "0.0001")
    assert ended.out == "amber: CPU at 0.02 USDC an hour, 0.001 a GiB of memory, 0.0001 a GiB of disk\n"
    (sent,) = provider.asked("PUT /provider/v1/nodes/{}/price")
    assert sent.json() == {
        "unit": "cpu",
        "price_microusd_per_unit_hour": 20_000,
        "memory_microusd_per_gib_hour": 1_000,
        "disk_microusd_per_gib_hour": 100,
    }
    assert gridbay("provider", "price", "set", "0.02", "--disk", "cheap").code == 2


def test_earnings_wallet_and_invitations(provider: ServedMarket, gridbay: Gridbay) -> None:
    earned = EarningsView(
        payable=Money.of(5), paying=Money.of(6), paid=Money.of(7), rent=Money.of(0), wallet_address=None,
        payable_from=None, threshold_microusd=None, every_hours=None, held="",
    )  # fmt: skip
    provider.on("GET /provider/v1/earnings", earned)
    assert "paid        0.000007 USDC, confirmed by the chain" in gridbay("provider", "earnings").out
    assert (
        "wallet      none yet, so nothing is sent: gridbay provider wallet set" in gridbay("provider", "earnings").out
    )
    assert gridbay("provider", "wallet").out.startswith("none yet")
    provider.on("GET /provider/v1/earnings", earned.model_copy(update={"wallet_address": "W" * 40}))
    assert gridbay("provider", "wallet").out == "W" * 40 + "\n"
    provider.on("PUT /provider/v1/wallet", Answer(b"{}"))
    assert gridbay("provider", "wallet", "set", "W" * 40).out == f"payouts go to {'W' * 40}\n"
    assert provider.seen[-1].json() == {"wallet_address": "W" * 40}
    provider.on(
        "POST /provider/v1/join-tokens", JoinTokenView(token_id="tok_1", token="gbj_x", uses=3, expires_at=NOON)
    )
    ended = gridbay("provider", "invite", "--uses", "3")
    assert ended.out == f"on the machine: gridbay provider join --portal {provider.url} --token gbj_x\n"


def test_settling_waits_until_the_chain_has_all_of_it(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    looks = [
        epoch(payout("open")),
        epoch(payout("open"), anchor="A" * 88),
        epoch(payout("confirmed", signature="S" * 88), anchor="A" * 88),
    ]
    logged_in.on("POST /ops/v1/epochs", Answer(json.dumps({"epoch": looks[0].model_dump(mode="json")}).encode()))
    logged_in.on("GET /ops/v1/epochs/{}", lambda _: Answer(looks.pop(0)))
    ended = gridbay("admin", "settle")
    assert ended.code == 0
    for words in ("A" * 88, "S" * 88, "confirmed", "2, 0.000099 USDC in all"):
        assert words in ended.out


def test_settling_does_not_wait_for_ever(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    stuck = epoch(payout("open", "the chain does not answer"))
    logged_in.on("POST /ops/v1/epochs", Answer(json.dumps({"epoch": stuck.model_dump(mode="json")}).encode()))
    logged_in.on("GET /ops/v1/epochs/{}", stuck)
    ended = gridbay("admin", "settle", "--wait", "0.1")
    assert ended.code == 3
    assert "its root is not anchored; payout pay_1 is open the chain does not answer" in ended.err


def test_nothing_to_settle(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("POST /ops/v1/epochs", Answer(b'{"epoch": null}'))
    assert "nothing to settle" in gridbay("admin", "settle").out


@pytest.mark.parametrize(("imbalance", "broken", "code"), [(0, [], 0), (1, [], 1), (0, ["hold_1 is settled twice"], 1)])
def test_the_ledger_check_says_it_by_its_status(
    logged_in: ServedMarket, gridbay: Gridbay, imbalance: int, broken: list[str], code: int
) -> None:
    found = Ledger(money={"custody": Money.of(5)}, imbalance_microusd=imbalance, entries=12, broken=broken)
    logged_in.on("GET /ops/v1/ledger", found)
    ended = gridbay("admin", "ledger", "check")
    assert ended.code == code
    assert ("the ledger balances" in ended.out) == (code == 0)
    for words in broken:
        assert f"does not hold: {words}" in ended.out


def test_the_overview_is_told_in_lines(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /ops/v1/overview", Answer(b'{"nodes": {"online": 2}, "money": {"held": {"usdc": "0.50"}}}'))
    lines = [line.split() for line in gridbay("admin", "overview").out.splitlines()]
    assert lines == [["nodes:", "online", "2"], ["money:", "held", "0.50", "USDC"]]


def test_status_says_what_stands_against_a_node_and_how_it_is_mended(gridbay: Gridbay, logged_in: ServedMarket) -> None:
    cards = [
        GpuView(uuid=f"GPU-{n}", index=n, model="H100", memory_bytes=80 * 10**9, present=True, quarantined=n == 1)
        for n in range(2)
    ]
    hot = ConditionView(
        gpu_uuid="GPU-1", code="too_hot", quarantines=True, reason="the GPU is too hot", remedy="clean the fans",
        detail="91 °C", began_at=NOON,
    )  # fmt: skip
    sick = node(gpus=True).model_copy(update={"gpus": cards, "conditions": [hot]})
    logged_in.on("GET /provider/v1/nodes", nodes(sick))
    told = gridbay("provider", "status")
    assert "1 of 2 GPUs quarantined" in told.out
    assert "amber GPU 1: quarantined since" in told.out
    assert "the GPU is too hot (91 °C)" in told.out
    assert "mend: clean the fans" in told.out


def test_an_operator_sees_what_stands_in_the_whole_market(gridbay: Gridbay, logged_in: ServedMarket) -> None:
    logged_in.on("GET /ops/v1/conditions", Answer(b'{"items": []}'))
    assert gridbay("admin", "conditions").out == "nothing stands against any node\n"
    full = NodeCondition(
        gpu_uuid=None, code="disk_full", quarantines=True, reason="the disk for jobs is full", remedy="free space",
        detail="0.2 GB left", began_at=NOON, node_id="node_1", node_name="amber", provider_id="prv_1",
    )  # fmt: skip
    logged_in.on("GET /ops/v1/conditions", Answer(json.dumps({"items": [full.model_dump(mode="json")]}).encode()))
    told = gridbay("admin", "conditions").out
    for words in ("amber", "quarantined", "the disk for jobs is full 0.2 GB left"):
        assert words in told
    assert gridbay("admin", "conditions", "-o", "quiet").out == "node_1\n"
