"""Who is challenged together: an owner's GPUs at one barrier, and everybody who claims one UUID."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proving_world import CARD, ProvingWorld

from scheduler.proofs import exchange, planning
from scheduler.proofs.barriers import Contender, groups
from scheduler.proofs.exchange import ProofOutOfTurn
from scheduler.proofs.judgement import ProofState
from scheduler.rounds import snapshots
from scheduler.tables.proofs import Cause

UUID = "GPU-5c9e1f00-0000-4000-8000-000000000001"


@given(
    watts=st.lists(st.one_of(st.none(), st.integers(50, 1000)), min_size=1, max_size=20),
    limit=st.one_of(st.none(), st.integers(100, 5000)),
)
def test_groups_hold_everyone_stay_under_the_limit_and_never_run_one_alone(
    watts: list[int | None], limit: int | None
) -> None:
    contenders = [Contender("node", f"GPU-{index}", each) for index, each in enumerate(watts)]
    found = groups(contenders, limit)
    assert sorted(each.device for group in found for each in group) == sorted(each.device for each in contenders)
    if limit is None:
        assert len(found) == 1
    for group in found:
        assert len(group) >= min(2, len(contenders))
        drawn = sum(each.watts or 350 for each in group)
        # Two run together whatever the limit is; one more may join them rather than stay alone.
        assert limit is None or drawn <= limit or len(group) <= 3


def test_an_owners_gpus_start_at_one_moment_wherever_they_are(proving: ProvingWorld) -> None:
    proving.measured()
    owner = proving.provider()
    nodes = [proving.node(CARD, CARD, provider_id=owner), proving.node(CARD, provider_id=owner)]
    stranger = proving.node(CARD)
    assert proving.plan_when_due() == 4
    rows = proving.waiting()
    assert len({row.barrier_id for row in rows if row.node_id in nodes}) == 1
    assert {row.starts_at for row in rows if row.node_id in nodes} == {proving.clock.now() + planning.LEAD}
    assert {row.together for row in rows} == {True, False}
    [alone] = [row for row in rows if row.node_id == stranger]
    assert alone.starts_at == proving.clock.now()


def test_nobody_is_told_a_nonce_before_the_barrier_and_who_comes_late_is_timed_from_it(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD, CARD)
    proving.plan_when_due()
    early, late = proving.waiting()
    assert early.node_id == node_id
    told = proving.take(exchange.begin, early)
    assert told.nonce is None and told.starts_in_ms == 30_000
    assert proving.challenge(early.id).nonce is None
    proving.pass_time(30)
    proving.prove(early)
    proving.pass_time(4)
    assert proving.take(exchange.begin, late).nonce is not None
    assert proving.challenge(late.id).issued_at == late.starts_at, "its clock has been running"


def test_who_waits_until_the_other_is_done_has_missed_the_barrier(proving: ProvingWorld) -> None:
    """One card behind two names would take one after the other."""
    proving.measured()
    proving.node(CARD, CARD)
    proving.plan_when_due()
    first, second = proving.waiting()
    proving.pass_time(30)
    proving.prove(first)
    proving.pass_time(6)
    with pytest.raises(ProofOutOfTurn, match="its time is over"):
        proving.take(exchange.begin, second)


def test_one_card_as_two_is_too_slow_at_the_barrier(proving: ProvingWorld) -> None:
    proving.measured()
    node_id = proving.node(CARD, CARD)
    proving.plan_when_due()
    for row in proving.waiting():
        proving.seconds[node_id, row.device] = 2 * proving.fair_seconds(row)
    for _ in range(4):
        proving.prove_all()
        proving.pass_time(301)
        proving.plan()
    assert {proving.standing(node_id, device).state for device in proving.devices(node_id)} == {ProofState.BANNED}
    assert proving.row(node_id).barred


def test_a_circuit_limit_staggers_the_barrier(proving: ProvingWorld) -> None:
    proving.measured()
    proving.node(*[CARD] * 6, provider_id=proving.provider(circuit_watts=1500))
    assert proving.plan_when_due() == 6
    starts = [row.starts_at for row in proving.waiting()]
    assert sorted(starts.count(moment) for moment in set(starts)) == [2, 2, 2]
    first, second, third = sorted(set(starts))
    assert second - first == third - second == planning.STAGGER


def test_a_second_owner_of_a_uuid_freezes_both_until_both_prove_it_at_one_barrier(proving: ProvingWorld) -> None:
    proving.measured()
    honest = proving.node(CARD, uuids=[UUID])
    proving.plan_when_due()
    proving.prove_all()
    assert proving.row(honest).verified
    clone = proving.node(CARD, uuids=[UUID])
    proving.plan()
    assert {proving.standing(node_id, UUID).state for node_id in (honest, clone)} == {ProofState.FROZEN}
    assert not proving.row(honest).verified and proving.row(honest).barred
    with proving.database.read() as session:
        snapshot = snapshots.load(session)
    assert all(node.quarantined for node in snapshot.nodes), "neither is leased"
    assert not any(offer.free_gpus for offer in snapshot.offers)
    rows = proving.waiting()
    assert {row.node_id for row in rows} == {honest, clone} and len({row.barrier_id for row in rows}) == 1
    assert {row.cause for row in rows} == {Cause.SHARED_UUID}
    # The clone has no card: it borrows what it can, and is slow.
    proving.seconds[clone, UUID] = 8 * proving.fair_seconds(rows[0])
    proving.prove_all()
    assert proving.standing(honest, UUID).state is ProofState.VERIFIED
    assert proving.standing(clone, UUID).state is ProofState.FROZEN
    proving.plan()
    assert proving.standing(honest, UUID).state is ProofState.VERIFIED, "it was cleared for two owners"


def test_of_two_owners_the_one_who_stays_away_is_frozen(proving: ProvingWorld) -> None:
    """Or one card could clear both names, one after the other."""
    proving.measured()
    first, second = proving.node(CARD, uuids=[UUID]), proving.node(CARD, uuids=[UUID])
    proving.plan_when_due()
    proving.prove_all(absent=frozenset({second}))
    assert proving.standing(first, UUID).state is ProofState.VERIFIED
    proving.pass_time(400)
    proving.plan()
    assert proving.standing(second, UUID).state is ProofState.FROZEN
    proving.pass_time(400)
    assert proving.plan() == 2
    proving.prove_all(absent=frozenset({first}))
    proving.pass_time(400)
    proving.plan()
    assert proving.standing(second, UUID).state is ProofState.VERIFIED
    assert proving.standing(first, UUID).state is ProofState.FROZEN


def test_simulated_devices_prove_at_a_small_size_and_are_never_frozen(proving: ProvingWorld) -> None:
    node_id = proving.node("H100", "H100", simulated=True)
    assert proving.plan_when_due() == 2
    assert {(row.size, row.model, row.together) for row in proving.waiting()} == {(64, None, False)}
    proving.prove_all()
    assert proving.row(node_id).verified


def test_what_contradicts_itself_is_challenged_for_suspicion(proving: ProvingWorld) -> None:
    honest_name = "NVIDIA H100 80GB HBM3"
    node_id = proving.node(honest_name)
    proving.plan()
    [device] = proving.devices(node_id)
    assert proving.standing(node_id, device).suspicion == ""
    liar = proving.node("NVIDIA H200")
    proving.plan()
    [device] = proving.devices(liar)
    standing = proving.standing(liar, device)
    assert "NVIDIA H200 does not come with" in standing.suspicion and standing.state is ProofState.UNPROVEN
