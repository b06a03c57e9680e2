"""What rows and job.yaml say reaches the rules: of nodes, of their cards, of their record, and of what a job asks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from market_world import ORGANIZATION, World
from sqlalchemy import select, text

from market.ids import new_id
from market.proof_api import NodeSpeeds
from market.schedules import WEEK_SECONDS, open_seconds, parse_window
from market.specs import InvalidSpec, parse_job_spec
from market.states import Reason
from market.terms_api import NodeTermsView
from scheduler.proofs import benchmarks
from scheduler.rounds import explaining
from scheduler.rounds.asking import request_of_spec
from scheduler.supply import reliability, terms
from scheduler.tables import Gpu, Node, NodeRecord, ProofChallenge
from scheduler.tables.proofs import Cause, ChallengeState

H100 = "NVIDIA H100"
SOON = datetime.now(UTC) + timedelta(hours=2)
Fed = Callable[[World, Node], None]


def says(**said: Any) -> Fed:
    return lambda world, node: _put(world, node, said)


def _put(world: World, node: Node, said: dict[str, Any]) -> None:
    terms.put(world.session, node.provider_id, node.id, NodeTermsView(**said), world.clock.now())


def rows(statement: str) -> Fed:
    return lambda world, _: world.session.execute(text(statement)) and None


def measures(device: str, **speeds: int) -> Fed:
    """device: "node", or "card": the first one."""

    def told(world: World, node: Node) -> None:
        now, session = world.clock.now(), world.session
        uuid = "node" if device == "node" else session.scalars(select(Gpu.uuid)).first()
        assert uuid is not None
        proof = ProofChallenge(
            id=new_id("prf"),
            node_id=node.id,
            provider_id=node.provider_id,
            device=uuid,
            cause=next(iter(Cause)),
            barrier_id="barrier",
            state=next(iter(ChallengeState)),
            size=1,
            rounds=1,
            kept=0,
            committed_at=now,
            remembered_at=now,
            **dict.fromkeys(("created_at", "starts_at", "due_at"), now),
        )
        session.add(proof)
        session.flush()
        benchmarks.note(session, proof, NodeSpeeds(**speeds), now)

    return told


def unreliable(world: World, node: Node) -> None:
    now = world.clock.now()
    world.session.add(NodeRecord(node_id=node.id, well_milli=0, ill_milli=9000, reliability_milli=700, learned_at=now))
    world.session.flush()


@pytest.mark.parametrize(
    ("rule", "fed", "suits", "does_not"),
    [
        ("region", says(region="eu-west"), {"regions": ["eu-west"]}, {"regions": ["us-east"]}),
        ("labels", says(labels=["ssd=nvme"]), {"labels": ["ssd=nvme"]}, {"labels": ["ssd=sata"]}),
        ("taints", says(taints=["spare"]), {"tolerations": ["spare"]}, {}),
        ("drained", says(draining=True), None, {}),
        ("ending", says(ends_at=SOON), {"max_duration": "1h"}, {"max_duration": "3h"}),
        ("schedule", says(open=[f"{SOON - timedelta(days=3):%a}"]), None, {}),
        ("driver", rows("UPDATE nodes SET driver_version = '550.54.15'"), {"driver": "550.54"}, {"driver": "560"}),
        ("cuda", rows("UPDATE nodes SET cuda_version = '12.4'"), {"cuda": 12.4}, {"cuda": "12.10"}),
        (
            "compute_capability",
            rows("UPDATE gpus SET compute_capability = '9.0'"),
            {"compute_capability": "8.0"},
            {"compute_capability": "10.0"},
        ),
        ("nvlink", rows("UPDATE gpus SET nvlinks = 4"), {"nvlink": True}, None),
        ("nvlink", rows("UPDATE gpus SET nvlinks = 0"), None, {"nvlink": True}),
        ("network", measures("node", network_up=125_000_000, network_down=250_000_000), {"network": "1Gbit"}, None),
        ("network", measures("node", network_up=12_000_000, network_down=25_000_000), None, {"network": "100Mbit"}),
        ("network", measures("node", network_down=250_000_000), None, {"network": "1Mbit"}),
        (
            "pcie",
            measures("card", pcie_to_device=25 * 10**9, pcie_to_host=22 * 10**9),
            {"pcie": "22GB"},
            {"pcie": "23GB"},
        ),
        ("pcie", rows("UPDATE gpus SET nvlinks = 0"), None, {"pcie": "1MB"}),
        ("reliability", unreliable, {"min_reliability": 0.7}, {"min_reliability": 0.71}),
        ("tier", rows("UPDATE nodes SET verified = false"), {}, {"verified_only": True}),
    ],
)
def test_what_is_said_reaches_its_rule(
    world: World, rule: str, fed: Fed, suits: dict[str, Any] | None, does_not: dict[str, Any] | None
) -> None:
    node = world.node([H100])
    fed(world, node)
    world.session.expire_all()
    for where, well in (does_not, False), (suits, True):
        if where is None:
            continue
        lasts = {"max_duration": where["max_duration"]} if "max_duration" in where else {}
        asked = {"where": where} if where and not lasts else {}
        job_id = world.job(resources={"gpu": 1}, budget={"max_price": 1}, **lasts, **asked)
        assert world.place() == well
        if not well:
            told = explaining.explain_job(world.session, ORGANIZATION, job_id, world.clock.now()).explanation
            assert told.removed.keys() - {"unit"} == {rule}
            world.session.execute(text("UPDATE jobs SET state = 'stopped'"))
            world.session.expire_all()


def test_providers_are_chosen_and_refused_by_their_ids(world: World) -> None:
    mine, other = world.node([H100]), world.node([H100])
    wanted = world.job(resources={"gpu": 1}, where={"providers": {"allow": [other.provider_id]}})
    refusing = world.job(resources={"gpu": 1}, where={"providers": {"deny": [other.provider_id]}})
    world.place()
    assert world.newest(wanted).provider_id == other.provider_id
    assert world.newest(refusing).provider_id == mine.provider_id


def test_within_the_price_tolerance_the_dearer_offer_may_be_taken(world: World) -> None:
    spec = parse_job_spec({"run": "true", "budget": {"price_tolerance": "2.5%"}})
    assert request_of_spec(spec, None).price_tolerance_milli == 25
    for wrong in ("101%", "5", "-1%"):
        with pytest.raises(InvalidSpec, match="price_tolerance"):
            parse_job_spec({"run": "true", "budget": {"price_tolerance": wrong}})


def test_an_attempt_lost_by_its_node_counts_half_after_thirty_days(world: World) -> None:
    node = world.node([H100])
    job_id, attempt_id = world.running(resources={"gpu": 1})
    world.report(attempt_id, "exited", Reason.FAILED_START)
    assert reliability.learn(world.session, world.clock.now()) == 0
    world.clock.advance(reliability.LATE * 2)
    assert reliability.learn(world.session, world.clock.now()) == 1
    assert reliability.learn(world.session, world.clock.now()) == 0
    record = world.session.get_one(NodeRecord, node.id)
    assert (record.well_milli, record.ill_milli, record.reliability_milli) == (0, 1000, 1000 * 20 // 21)
    assert reliability.Record(0, 1000).aged(reliability.HALF_LIFE) == reliability.Record(0, 500)
    assert world.row(job_id).state.final


MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("windows", "hours_from_monday", "hours_open"),
    [
        (["Mon-Fri 19:00-07:00"], 20, 11),
        (["Mon-Fri 19:00-07:00"], 8, 0),
        (["Mon-Fri 19:00-07:00"], 24 * 5 + 6, 1),
        (["Mon-Fri 19:00-07:00"], 24 * 6, 0),
        (["Sun 22:00-04:00"], 2, 2),
        (["Sat,Sun"], 24 * 5, 48),
        (["Sun", "Mon 00:00-12:00"], 24 * 6 + 12, 24),
        (["Fri-Mon"], 24 * 6, 48),
    ],
)
def test_an_offer_is_open_in_its_windows(windows: list[str], hours_from_monday: int, hours_open: int) -> None:
    assert open_seconds(windows, MONDAY + timedelta(hours=hours_from_monday)) == hours_open * 3600


def test_without_windows_or_with_all_of_the_week_it_is_always_open() -> None:
    assert open_seconds([], MONDAY) is None
    assert open_seconds(["Mon-Sun"], MONDAY) is None
    assert sum(ends - begins for begins, ends in parse_window("Mon-Sun")) == WEEK_SECONDS


@pytest.mark.parametrize("wrong", ["", "Monday", "Mon 7-9", "Mon 25:00-26:00", "Mon-", "Mon 07:00"])
def test_what_is_no_window_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is n"):
        parse_window(wrong)
