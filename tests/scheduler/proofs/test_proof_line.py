"""A proof as rows: from planning to the verdict, and what it changes."""

from datetime import timedelta

import market_world
import pytest
from proving_world import CARD, RATE, NotExact, ProvingWorld
from sqlalchemy import func, select

from market.measured import Measure
from market.proof_api import NodeSpeeds, ProofAnswer, ProofCommit, ProofMemory
from market.resources import Unit
from scheduler.proofs import exchange, planning, rates, standings
from scheduler.proofs.exchange import ProofOutOfTurn
from scheduler.proofs.judgement import Check, Finding, ProofState
from scheduler.rounds import snapshots
from scheduler.supply import offers, prices
from scheduler.supply.offers import OfferFilters, OfferOrder
from scheduler.tables import Benchmark, Node, ProofChallenge, ProofStanding
from scheduler.tables.proofs import NODE, Cause, ChallengeState

ROOT = "ab" * 32


def test_a_node_is_verified_only_after_its_proof(proving: ProvingWorld) -> None:
    node_id = proving.node()
    assert proving.plan() == 0, "whoever has just joined settles first"
    assert (proving.row(node_id).verified, proving.standing(node_id).state) == (False, ProofState.UNPROVEN)
    assert proving.plan_when_due() == 1 and proving.plan() == 0
    assert proving.prove_all() == 1
    standing = proving.standing(node_id)
    assert (standing.state, standing.cause, standing.audits) == (ProofState.VERIFIED, Cause.IDLE, 1)
    assert proving.row(node_id).verified and not proving.row(node_id).barred
    with proving.database.read() as session:
        assert [node.tier for node in snapshots.load(session).nodes] == [1], "what the rule of placement reads"
    assert standing.next_at is not None
    assert timedelta(hours=12) < standing.next_at - proving.clock.now() <= timedelta(hours=25), "1 in 25 GPU-hours"


def test_only_what_changes_for_placement_makes_its_decisions_void(proving: ProvingWorld) -> None:
    node_id = proving.node()
    proving.plan()
    joined = proving.row(node_id).revision
    proving.plan_when_due()
    proving.prove_all()
    verified = proving.row(node_id).revision
    assert verified == joined + 1
    with proving.database.transaction() as session:
        standings.suspect(session, node_id, "cpu", "once more", proving.clock.now())
    proving.plan()
    proving.prove_all()
    assert proving.row(node_id).revision == verified, "it was verified and is"


def test_devices_begin_a_batch_at_a_time(proving: ProvingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BEGUN_MAX", 2)
    for _ in range(3):
        proving.node()
    begun = []
    for _ in range(2):
        proving.plan()
        with proving.database.read() as session:
            begun.append(session.scalar(select(func.count()).select_from(ProofStanding)))
    assert begun == [2, 3]


def test_every_gpu_of_a_node_is_to_be_proven(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD, CARD)
    assert proving.plan_when_due() == 2
    first, second = proving.devices(node_id)
    proving.engines[node_id, second] = NotExact()
    proving.prove_all()
    assert proving.standing(node_id, first).state is ProofState.VERIFIED
    assert proving.standing(node_id, second).state is ProofState.SUSPECT
    assert not proving.row(node_id).verified


def test_wrong_rows_three_times_are_a_ban_and_nothing_is_leased_any_more(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan()
    [device] = proving.devices(node_id)
    proving.engines[node_id, device] = NotExact()
    states = []
    proving.pass_time(30)
    for _ in range(3):
        assert proving.plan() == 1
        proving.prove_all()
        states.append(proving.standing(node_id, device).state)
        proving.pass_time(300)
    assert states == [ProofState.SUSPECT, ProofState.SUSPECT, ProofState.BANNED]
    assert proving.row(node_id).barred
    with proving.database.read() as session:
        snapshot = snapshots.load(session)
    assert all(node.quarantined for node in snapshot.nodes)
    assert not any(offer.free_gpus for offer in snapshot.offers)
    assert proving.plan() == 0, "it is not asked again"


def test_an_appeal_is_three_proofs_in_a_row(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan()
    [device] = proving.devices(node_id)
    provider_id = proving.row(node_id).provider_id
    with proving.database.transaction() as session, pytest.raises(standings.Conflict, match="only a ban"):
        standings.appeal(session, provider_id, node_id, device, proving.clock.now())
    proving.engines[node_id, device] = NotExact()
    for _ in range(3):
        proving.pass_time(300)
        proving.plan()
        proving.prove_all()
    assert proving.standing(node_id, device).state is ProofState.BANNED
    del proving.engines[node_id, device]
    with proving.database.transaction() as session, pytest.raises(standings.NotFound):
        standings.appeal(session, "prv_another", node_id, device, proving.clock.now())
    with proving.database.transaction() as session:
        standings.appeal(session, provider_id, node_id, device, proving.clock.now())
    for expected in (ProofState.BANNED, ProofState.BANNED, ProofState.VERIFIED):
        assert proving.plan() == 1
        proving.prove_all()
        assert proving.standing(node_id, device).state is expected
        proving.pass_time(300)
    assert proving.row(node_id).verified


def test_an_operator_may_lift_a_ban(proving: ProvingWorld) -> None:
    node_id = proving.node()
    proving.plan()
    with proving.database.transaction() as session:
        standings.lock(session, node_id, "cpu").state = ProofState.BANNED
        standings.follow(session, node_id, leasable_changed=True)
    assert proving.row(node_id).barred
    with proving.database.transaction() as session:
        standings.lift(session, node_id, "cpu", proving.clock.now())
    assert proving.standing(node_id).state is ProofState.UNPROVEN and not proving.row(node_id).barred


def test_a_card_at_half_its_models_rate_is_seen_by_the_portals_clock(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan_when_due()
    [row] = proving.waiting()
    proving.seconds[node_id, row.device] = 2 * proving.fair_seconds(row)
    for _ in range(2):
        proving.prove_all()
        proving.pass_time(300)
        proving.plan()
    standing = proving.standing(node_id, row.device)
    assert (standing.state, standing.failures, standing.slow) == (ProofState.SUSPECT, 1, "ss")
    judged = proving.challenge(row.id)
    assert judged.findings == {"rows": "passed", "timing": "failed", "memory": "passed", "memory_time": "unknown"}
    assert judged.operations_per_second == pytest.approx(RATE / 2, rel=0.01)


def test_a_check_in_shadow_is_kept_and_changes_nothing(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan_when_due()
    [row] = proving.waiting()
    proving.seconds[node_id, row.device] = 4 * proving.fair_seconds(row)
    proving.prove_all(verify=False)
    proving.verify(Check.TIMING)
    judged = proving.challenge(row.id)
    assert judged.findings is not None and judged.findings["timing"] == Finding.FAILED
    assert (judged.shadow, judged.outcome) == (["timing"], "passed")
    assert proving.row(node_id).verified


def test_an_answer_that_does_not_come_is_a_miss_and_no_crime(proving: ProvingWorld) -> None:
    node_id = proving.node()
    proving.plan_when_due()
    for misses in (1, 2, 3, 4):
        proving.pass_time(300)
        proving.plan()
        assert proving.standing(node_id).misses == misses
        proving.pass_time(300)
        assert proving.plan() == 1
    assert proving.standing(node_id).state is ProofState.UNPROVEN
    proving.prove_all()
    assert proving.standing(node_id).state is ProofState.VERIFIED and proving.standing(node_id).misses == 0


def test_what_is_leased_is_not_challenged_and_a_lease_in_between_excuses(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan_when_due()
    [row] = proving.waiting()
    proving.seconds[node_id, row.device] = 9 * proving.fair_seconds(row)
    proving.take(exchange.begin, row)
    with proving.database.transaction() as session:
        world = market_world.World(session, proving.clock)
        world.job(resources={"gpu": 1})
        assert world.place() == 1
    proving.prove(row)
    proving.verify()
    judged = proving.challenge(row.id)
    assert judged.disturbed and judged.findings is not None and judged.findings["timing"] == Finding.UNKNOWN
    assert judged.outcome == "passed"
    with proving.database.transaction() as session:
        standings.suspect(session, node_id, row.device, "for the test", proving.clock.now())
    assert proving.plan() == 0, "its GPU is leased"


def test_turns_come_in_order_each_once_and_to_their_own_node(proving: ProvingWorld) -> None:
    node_id, other = proving.node(), proving.node()
    proving.plan_when_due()
    [row] = [row for row in proving.waiting() if row.node_id == node_id]
    commit, memory = ProofCommit(roots=[ROOT] * 6), ProofMemory(roots=[ROOT] * 2)
    answer = ProofAnswer(openings=[])
    with pytest.raises(ProofOutOfTurn):
        proving.take(exchange.commit, row, commit)
    with proving.database.transaction() as session, pytest.raises(exchange.NotFound):
        exchange.begin(session, other, row.id, proving.clock.now())
    issue = proving.take(exchange.begin, row)
    assert proving.challenge(row.id).secret is None, "nothing is drawn that could be told too early"
    proving.pass_time(1)
    assert proving.take(exchange.begin, row).nonce == issue.nonce
    drawn = proving.take(exchange.commit, row, commit)
    stamped = proving.challenge(row.id).committed_at
    proving.pass_time(1)
    assert proving.take(exchange.commit, row, commit) == drawn, "a lost answer is given again"
    assert proving.challenge(row.id).committed_at == stamped, "and the clock is not stopped a second time"
    with pytest.raises(ProofOutOfTurn, match="other roots"):
        proving.take(exchange.commit, row, ProofCommit(roots=["cd" * 32] * 6))
    with pytest.raises(ProofOutOfTurn):
        proving.take(exchange.begin, row)
    told = proving.take(exchange.remember, row, memory)
    assert proving.take(exchange.remember, row, memory) == told
    for _ in range(2):
        proving.take(exchange.answer, row, answer)
    assert proving.verify() == 1 and proving.verify() == 0
    judged = proving.challenge(row.id)
    assert (judged.state, judged.outcome, judged.faults) == (ChallengeState.JUDGED, "failed", {"shape": 1})
    assert judged.answer is None, "what was shown is not kept"


def test_secrets_of_two_challenges_never_repeat(proving: ProvingWorld) -> None:
    for _ in range(3):
        proving.node()
    proving.plan_when_due()
    proving.prove_all()
    with proving.database.read() as session:
        rows = session.scalars(select(ProofChallenge)).all()
    drawn = [value for row in rows for value in (row.nonce, row.secret, row.memory_nonce, row.memory_secret)]
    assert len(set(drawn)) == len(drawn) == 12


def test_the_verifier_stops_when_its_time_is_spent_and_goes_on_next_time(proving: ProvingWorld) -> None:
    for _ in range(3):
        proving.node()
    proving.plan_when_due()
    proving.prove_all(verify=False)
    spent = [proving.verify(cpu_seconds_max=1e-9) for _ in range(4)]
    assert spent == [1, 1, 1, 0]
    with proving.database.read() as session:
        assert all(row.verifier_cpu_ms is not None for row in session.scalars(select(ProofChallenge)))


def test_what_was_measured_is_kept_as_facts(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD)
    proving.plan_when_due()
    proving.prove_all()
    with proving.database.read() as session:
        found = session.scalars(select(Benchmark).where(Benchmark.node_id == node_id)).all()
    assert [(row.kind, row.by_market) for row in found] == [(Measure.MATRIX.kind, True)]
    assert found[0].value == pytest.approx(RATE, rel=0.01)


def test_offers_say_what_was_proven_and_measured_and_can_be_searched_by_it(proving: ProvingWorld) -> None:
    proving.measured()
    proven, other = proving.node(CARD, CARD), proving.node(CARD)
    proving.plan_when_due()
    rows = proving.waiting()
    slower = next(row for row in rows if row.node_id == proven)
    proving.seconds[proven, slower.device] = proving.fair_seconds(slower) / 0.8
    proving.prove_all(absent=frozenset({other}))
    with proving.database.read() as session:
        everyone = offers.search(session, OfferFilters(unit=Unit.GPU))
        only = offers.search(session, OfferFilters(unit=Unit.GPU, verified=True))
    assert {(offer.node_id, offer.verified) for offer in everyone} == {(proven, True), (other, False)}
    assert [offer.node_id for offer in only] == [proven]
    assert only[0].measured[Measure.MATRIX.kind] == pytest.approx(0.8 * RATE, rel=0.01), "of its least device"


def test_what_a_node_measured_of_itself_is_said_of_all_its_offers_and_marked_as_its_word(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD, CARD)
    proving.speeds[node_id] = NodeSpeeds(pcie_to_device=20 * 10**9, disk_read=10**9, network_down=12_500_000)
    proving.plan_when_due()
    proving.prove_all()
    with proving.database.read() as session:
        rows = session.scalars(select(Benchmark).where(~Benchmark.by_market)).all()
        gpus, cpus = sorted(offers.search(session, OfferFilters()), key=lambda offer: offer.unit, reverse=True)
    assert {row.device for row in rows if row.kind == Measure.NETWORK_DOWN.kind} == {NODE}
    assert len([row for row in rows if row.kind == Measure.PCIE_TO_DEVICE.kind]) == 2, "of each device"
    assert (gpus.measured[Measure.PCIE_TO_DEVICE.kind], gpus.measured[Measure.DISK_READ.kind]) == (20 * 10**9, 10**9)
    assert set(cpus.measured) == {Measure.DISK_READ.kind, Measure.NETWORK_DOWN.kind}


def test_offers_are_searched_by_what_was_measured_and_told_the_best_where_none_is_left(proving: ProvingWorld) -> None:
    proving.measured()
    fast, slow, unknown = proving.node(CARD), proving.node(CARD), proving.node(CARD)
    for node_id, down in ((fast, 125_000_000), (slow, 1_000_000)):
        proving.speeds[node_id] = NodeSpeeds(network_down=down)
    proving.plan_when_due()
    proving.prove_all(absent=frozenset({unknown}))

    def found(**at_least: int) -> offers.OfferSurvey:
        asked = {Measure(name): value for name, value in at_least.items()}
        with proving.database.read() as session:
            return offers.survey(session, OfferFilters(unit=Unit.GPU, at_least=asked))

    assert {offer.node_id for offer in found(network_down=1).offers} == {fast, slow}
    assert [offer.node_id for offer in found(network_down=100_000_000, matrix=RATE // 2).offers] == [fast]
    none = found(network_down=10**9, pcie_to_host=1)
    assert (none.offers, none.removed["measured"]) == ([], 3)
    assert none.explanation.endswith("at best: network_down at 125 MB/s, pcie_to_host of none yet")


def test_the_cheapest_work_is_not_always_the_cheapest_hour(proving: ProvingWorld) -> None:
    proving.measured()
    fast, slow, unknown = proving.node(CARD), proving.node(CARD), proving.node(CARD)
    proving.plan_when_due()
    [row] = [row for row in proving.waiting() if row.node_id == slow]
    proving.seconds[slow, row.device] = proving.fair_seconds(row) / 0.8
    proving.prove_all(absent=frozenset({unknown}))
    with proving.database.transaction() as session:
        for node_id, price in ((fast, 500_000), (slow, 450_000), (unknown, 1)):
            owner = session.get_one(Node, node_id).provider_id
            prices.set_price(session, owner, node_id, Unit.GPU, price, proving.clock.now())
        wanted = OfferFilters(unit=Unit.GPU)
        by_price, by_work = (offers.search(session, wanted, order=order) for order in OfferOrder)
        [first] = offers.search(session, wanted, 1, OfferOrder.WORK)
    assert [offer.node_id for offer in by_price] == [unknown, slow, fast]
    assert [offer.node_id for offer in by_work] == [fast, slow, unknown]
    assert first.node_id == fast, "sorted before it is cut"
    assert by_work[0].work_price_microusd == pytest.approx(500_000 * 10**18 / (3600 * RATE), rel=0.01)


def test_old_challenges_are_dropped_and_a_figures_source_is_kept(proving: ProvingWorld) -> None:
    proving.measured()
    proving.node(CARD)
    proving.node()
    proving.plan_when_due()
    proving.prove_all()
    proving.pass_time(rates.KEPT.total_seconds() + 1)
    with proving.database.transaction() as session:
        assert rates.forget(session, proving.clock.now()) == 1
        assert [row.model for row in session.scalars(select(ProofChallenge))] == [CARD]


def test_a_models_rate_is_learnt_from_three_owners_and_not_from_one(proving: ProvingWorld) -> None:
    proving.measured()
    owners = [proving.provider() for _ in range(3)]
    for number, owner in enumerate((owners[0], *owners)):
        node_id = proving.node(CARD, provider_id=owner)
        proving.plan_when_due()
        for row in proving.waiting():
            proving.seconds[node_id, row.device] = proving.fair_seconds(row) / (1.0, 0.9, 1.1, 1.2)[number]
        proving.prove_all()
        with proving.database.transaction() as session:
            rates.learn(session, proving.clock.now())
            [rate] = rates.of_model(session, CARD)
        if number < 3:
            assert rate.operations_per_second == RATE, "one owner, or two, change nothing"
    assert rate.samples == 3 and rate.operations_per_second == pytest.approx(1.1 * RATE, rel=0.02)
