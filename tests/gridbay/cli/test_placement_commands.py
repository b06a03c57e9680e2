"""The commands of placement: why a job waits, rounds decided again, and what a provider says of a node."""

from typing import Any

import pytest
from served_market import Answer, Seen, ServedMarket
from test_owners import node, nodes
from typed_command import Gridbay
from views import JOB_ID, NOON

from market.discounts_api import DiscountList, DiscountView
from market.explanation_api import AskingView, ChangeView, ExplanationView, RemovedView
from market.rounds_api import ReplayView, RoundList, RoundView
from market.shares_api import ShareList, ShareView
from market.states import JobState, Reason
from market.terms_api import NodeTermsView

TERMS = "/provider/v1/nodes/{}/terms"


def test_why_tells_the_counts_and_the_changes_in_order(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    asked = AskingView(field="max_price", asked="0.40", instead="0.42")
    told = ExplanationView(
        job_id=JOB_ID, state=JobState.QUEUED, reason=Reason.NO_OFFER, detail="", offers=5, matching=0,
        removed=[RemovedView(rule="price", offers=5, words="above the price limit")],
        changes=[ChangeView(parts=[asked], offers=3, words="max_price 0.42 instead of 0.40: 3 offers")],
        passed_since=NOON, held_nodes=2, place=None, explanation="in one sentence",
    )  # fmt: skip
    logged_in.on("GET /v1/jobs/{}/explanation", told)
    shown = gridbay("why", JOB_ID)
    assert (shown.code, shown.err) == (0, "")
    for words in ("0 of 5 match", "5 above the price limit", "max_price 0.42 instead of 0.40", "held on 2 node(s)"):
        assert words in shown.out
    assert gridbay("why", JOB_ID, "-o", "quiet").out == "in one sentence\n"


@pytest.mark.parametrize(("agrees", "code"), [(True, 0), (False, 1)])
def test_a_round_that_does_not_come_to_the_same_ends_with_1(
    logged_in: ServedMarket, gridbay: Gridbay, agrees: bool, code: int
) -> None:
    one = RoundView(
        round_id="rnd_1", chain_id="rnd_0", number=3, decided_at=NOON, asked=4, placed=2, digest="ab", size_bytes=99
    )
    was: list[list[Any]] = [] if agrees else [["job_1", 0, "off_1", [7], 400_000]]
    replay = ReplayView(round=one, seed="5eed", offers=9, sound=True, agrees=agrees, recorded=was, again=[])
    logged_in.on("GET /ops/v1/rounds", RoundList(items=[one]))
    logged_in.on("GET /ops/v1/rounds/{}/replay", replay)
    assert "rnd_1" in gridbay("admin", "round", "list").out
    ended = gridbay("admin", "round", "replay", "rnd_1")
    assert ended.code == code
    assert ("job_1" in ended.out) is not agrees and "4, of which placed 2" in ended.out


def test_a_round_that_other_rules_decided_is_not_said_to_be_wrong(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    one = RoundView(
        round_id="rnd_1", chain_id="rnd_0", number=3, decided_at=NOON, asked=4, placed=2, digest="ab", size_bytes=99
    )
    replay = ReplayView(
        round=one, seed="", offers=9, sound=True, agrees=False, same_rules=False, recorded=[["job_1", True]], again=[]
    )
    logged_in.on("GET /ops/v1/rounds/{}/replay", replay)
    ended = gridbay("admin", "round", "replay", "rnd_1")
    assert ended.code == 3 and "decided by other rules" in ended.out and "NOT" not in ended.out
    logged_in.on("GET /ops/v1/rounds/{}/replay", replay.model_copy(update={"sound": False}))
    assert gridbay("admin", "round", "replay", "rnd_1").code == 1


def test_an_organizations_share_is_set_whole(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /ops/v1/shares", ShareList(items=[]))
    assert "usual share" in gridbay("admin", "share", "list").out
    kept = ShareView(organization_id="org_1", weight_milli=2500, quota_gpus=8, ceiling_gpus=None)
    logged_in.on("PUT /ops/v1/organizations/{}/share", kept)
    ended = gridbay("admin", "share", "set", "org_1", "--weight", "2.5", "--quota", "8")
    assert ended.out == "org_1: weight 2.5, quota 8 GPUs, ceiling none\n"
    assert logged_in.seen[-1].json() == {"weight_milli": 2500, "quota_gpus": 8, "ceiling_gpus": None}
    logged_in.on("GET /ops/v1/shares", ShareList(items=[kept]))
    for words in ("org_1", "2.5", "8 GPUs", "none"):
        assert words in gridbay("admin", "share", "list").out
    assert gridbay("admin", "share", "set", "org_1", "--quota", "-1").code == 2


def test_an_organizations_discount_is_said_in_percent(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /ops/v1/discounts", DiscountList(items=[]))
    assert gridbay("admin", "discount", "list").out == "every organization pays what is asked\n"
    kept = DiscountView(organization_id="org_1", discount_basis_points=250)
    logged_in.on("PUT /ops/v1/organizations/{}/discount", kept)
    ended = gridbay("admin", "discount", "set", "org_1", "2.5")
    assert ended.out == "org_1 pays 2.5% less, from its next lease on\n"
    assert logged_in.seen[-1].json() == {"discount_basis_points": 250}
    logged_in.on("GET /ops/v1/discounts", DiscountList(items=[kept]))
    shown = gridbay("admin", "discount", "list").out
    assert "org_1" in shown and "2.5%" in shown
    assert gridbay("admin", "discount", "set", "org_1", "100").code == 2


@pytest.fixture
def said(logged_in: ServedMarket) -> list[NodeTermsView]:
    """What was said of the provider's only node, the newest last."""
    heard = [NodeTermsView(region="eu-west", labels=["ssd=nvme"])]

    def put(seen: Seen) -> Answer:
        heard.append(NodeTermsView.model_validate(seen.json()))
        return Answer(heard[-1])

    logged_in.on("GET /provider/v1/nodes", nodes(node()))
    logged_in.on(f"GET {TERMS}", lambda _: Answer(heard[-1]))
    logged_in.on(f"PUT {TERMS}", put)
    return heard


def test_what_is_said_of_a_node_is_changed_one_by_one(said: list[NodeTermsView], gridbay: Gridbay) -> None:
    shown = gridbay("provider", "terms")
    assert "eu-west" in shown.out and "ssd=nvme" in shown.out and len(said) == 1
    gridbay("provider", "terms", "--taint", "spare", "--open", "Mon-Fri 19:00-07:00", "--ends-at", "2030-01-01T00:00Z")
    assert (said[-1].region, said[-1].taints, said[-1].open) == ("eu-west", ["spare"], ["Mon-Fri 19:00-07:00"])
    gridbay("provider", "terms", "--open", "any-time", "--ends-at", "never")
    assert (said[-1].open, said[-1].ends_at, said[-1].taints) == ([], None, ["spare"])
    refused = gridbay("provider", "terms", "--open", "Mondays")
    assert refused.code != 0 and "is not a window of the week" in refused.err and len(said) == 3


def test_spot_jobs_are_taken_from_a_part_of_the_price_on_or_not_at_all(
    said: list[NodeTermsView], gridbay: Gridbay
) -> None:
    assert "from 40% of its prices on" in gridbay("provider", "terms", "--spot", "40%").out
    assert (said[-1].spot, said[-1].spot_floor_milli, said[-1].region) == (True, 400, "eu-west")
    gridbay("provider", "terms", "--spot", "no")
    assert (said[-1].spot, said[-1].spot_floor_milli) == (False, 400)
    refused = gridbay("provider", "terms", "--spot", "half")
    assert refused.code != 0 and "write it like 40%" in refused.err


def test_a_node_is_drained_and_taken_back(said: list[NodeTermsView], gridbay: Gridbay) -> None:
    assert gridbay("provider", "drain").out == "amber takes no new work\n"
    assert said[-1].draining and said[-1].region == "eu-west"
    assert gridbay("provider", "resume").out == "amber takes work\n"
    assert not said[-1].draining
