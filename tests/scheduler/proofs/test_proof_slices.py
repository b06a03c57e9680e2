"""Proofs of slices (MIG): one that passes computes and is not verified, for no time tells one slice from several."""

import pytest
from market_world import inventory
from proving_world import CARD, NotExact, ProvingWorld
from test_proof_mending import say

from scheduler.proofs.cards import card_of
from scheduler.proofs.judgement import ProofState
from scheduler.rounds import snapshots
from scheduler.supply import nodes

SLICE = f"{CARD} MIG 1g.10gb"
COMPUTED_S = 1e-6
"""Faster than any CPU, which is all that is asked of a slice's time."""


@pytest.fixture
def slices(proving: ProvingWorld) -> tuple[str, str, str]:
    """A node of a whole card and two slices of another."""
    proving.measured()
    node_id = proving.node(CARD, SLICE, SLICE, uuids=["GPU-whole", "MIG-one", "MIG-other"])
    for uuid in ("MIG-one", "MIG-other"):
        proving.seconds[node_id, uuid] = COMPUTED_S
    return node_id, "MIG-one", "MIG-other"


def states(proving: ProvingWorld, node_id: str) -> dict[str, ProofState]:
    return {device: proving.standing(node_id, device).state for device in proving.devices(node_id)}


def free(proving: ProvingWorld) -> int:
    with proving.database.read() as session:
        return sum(len(offer.free_gpus) for offer in snapshots.load(session).offers)


def test_no_data_sheet_is_that_of_a_slice() -> None:
    assert card_of("NVIDIA A100-SXM4-40GB") is not None
    assert card_of("NVIDIA A100-SXM4-40GB MIG 1g.5gb") is None


def test_a_slice_that_passes_is_leased_and_not_verified(proving: ProvingWorld, slices: tuple[str, str, str]) -> None:
    node_id, one, other = slices
    proving.plan_when_due()
    assert len({row.barrier_id for row in proving.waiting()}) == 3, "its time would say nothing beside others"
    assert proving.prove_all() == 3
    unproven = ProofState.UNPROVEN
    assert states(proving, node_id) == {"GPU-whole": ProofState.VERIFIED, one: unproven, other: unproven}
    assert proving.standing(node_id, one).passes == 1
    assert not proving.row(node_id).verified
    assert free(proving) == 3


def test_a_slice_that_computes_wrongly_is_suspect_then_banned(
    proving: ProvingWorld, slices: tuple[str, str, str]
) -> None:
    node_id, one, _ = slices
    proving.engines[node_id, one] = NotExact()
    seen = []
    proving.plan_when_due()
    for _ in range(3):
        proving.prove_all()
        seen.append(states(proving, node_id)[one])
        proving.pass_time(300)
        proving.plan()
    assert seen == [ProofState.SUSPECT, ProofState.SUSPECT, ProofState.BANNED]
    assert free(proving) == 2


def test_a_slice_that_mended_is_back_when_it_has_computed(proving: ProvingWorld, slices: tuple[str, str, str]) -> None:
    node_id, one, _ = slices
    proving.plan_when_due()
    proving.prove_all()
    say(proving, node_id, one)
    say(proving, node_id)
    assert free(proving) == 2, "its agent's word does not bring it back"
    assert proving.plan() == 1
    proving.prove_all()
    assert (free(proving), states(proving, node_id)[one]) == (3, ProofState.UNPROVEN)


def test_a_slice_of_two_owners_is_frozen_until_one_of_them_is_gone(
    proving: ProvingWorld, slices: tuple[str, str, str]
) -> None:
    node_id, one, _ = slices
    second = proving.node(SLICE, uuids=[one])
    proving.plan_when_due()
    proving.prove_all()
    assert states(proving, node_id)[one] is ProofState.FROZEN, "no barrier tells one slice from two"
    with proving.database.transaction() as session:
        nodes.update_inventory(session, second, inventory(), proving.clock.now())
    proving.pass_time(300)
    proving.plan()
    proving.prove_all()
    assert states(proving, node_id)[one] is ProofState.UNPROVEN
