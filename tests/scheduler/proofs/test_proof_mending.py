"""A GPU that was in quarantine is leased again once it has proven itself, beside its owner's other GPUs."""

from datetime import timedelta

from proving_world import CARD, NotExact, ProvingWorld
from sqlalchemy import select

from market.agent_api import HealthReport
from market.health import Condition, HealthCode
from scheduler.proofs.judgement import ProofState
from scheduler.rounds import snapshots
from scheduler.supply import health
from scheduler.tables import Gpu
from scheduler.tables.proofs import Cause


def say(proving: ProvingWorld, node_id: str, *sick: str) -> None:
    """Which of its GPUs a node says have fallen off the bus."""
    conditions = [Condition(code=HealthCode.GPU_LOST, gpu_uuid=uuid) for uuid in sick]
    with proving.database.transaction() as session:
        health.take(session, node_id, HealthReport(conditions=conditions), proving.clock.now())


def leasable(proving: ProvingWorld) -> int:
    with proving.database.read() as session:
        return sum(len(offer.free_gpus) for offer in snapshots.load(session).offers)


def proven_pair(proving: ProvingWorld) -> tuple[str, str, str]:
    """A node with two verified GPUs."""
    proving.measured()
    node_id = proving.node(CARD, CARD)
    proving.plan_when_due()
    proving.prove_all()
    first, second = proving.devices(node_id)
    return node_id, first, second


def test_who_mended_is_challenged_at_once_with_its_owners_others_and_back_when_it_passed(proving: ProvingWorld) -> None:
    node_id, sick, _ = proven_pair(proving)
    say(proving, node_id, sick)
    assert leasable(proving) == 1
    say(proving, node_id)
    assert leasable(proving) == 1, "its agent's word does not bring it back"
    assert proving.plan() == 2
    assert {row.cause for row in proving.waiting()} == {Cause.MENDED}
    assert len({row.barrier_id for row in proving.waiting()}) == 1, "one card could be both, one after the other"
    proving.prove_all()
    assert leasable(proving) == 2
    assert proving.plan() == 0


def test_what_is_sick_is_not_asked_to_compute(proving: ProvingWorld) -> None:
    node_id, sick, well = proven_pair(proving)
    say(proving, node_id, sick)
    proving.pass_time(timedelta(hours=25).total_seconds())
    proving.plan()
    assert [row.device for row in proving.waiting()] == [well]


def test_who_fails_or_stays_away_is_not_back_and_is_asked_again(proving: ProvingWorld) -> None:
    node_id, sick, _ = proven_pair(proving)
    say(proving, node_id, sick)
    say(proving, node_id)
    proving.engines[node_id, sick] = NotExact()
    proving.plan()
    proving.prove_all()
    assert leasable(proving) == 1
    assert proving.standing(node_id, sick).state is ProofState.SUSPECT
    assert proving.plan() == 0, "not at once"
    proving.pass_time(300)
    assert proving.plan() > 0
    proving.pass_time(400)
    proving.plan()
    assert leasable(proving) == 1, "a challenge that is not answered shows nothing"
    del proving.engines[node_id, sick]
    proving.pass_time(300)
    proving.plan()
    proving.prove_all()
    assert leasable(proving) == 2


def test_a_fault_in_the_middle_of_a_proof_excuses_it_and_asks_for_another(proving: ProvingWorld) -> None:
    node_id, sick, _ = proven_pair(proving)
    proving.pass_time(timedelta(hours=25).total_seconds())
    assert proving.plan() == 2
    say(proving, node_id, sick)
    proving.pass_time(600)
    proving.plan()
    assert proving.standing(node_id, sick).misses == 0
    say(proving, node_id)
    proving.pass_time(300)
    assert proving.plan() == 2
    proving.prove_all()
    assert leasable(proving) == 2


def test_a_proof_from_before_the_fault_does_not_bring_it_back(proving: ProvingWorld) -> None:
    node_id, sick, _ = proven_pair(proving)
    proving.pass_time(timedelta(hours=25).total_seconds())
    proving.plan()
    proving.prove_all(verify=False)
    proving.pass_time(200)
    say(proving, node_id, sick)
    say(proving, node_id)
    proving.verify()
    assert leasable(proving) == 1
    proving.plan()
    proving.prove_all()
    assert leasable(proving) == 2
    with proving.database.read() as session:
        assert not session.scalars(select(Gpu).where(Gpu.quarantined)).all()
