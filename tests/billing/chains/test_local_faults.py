"""The local chain's faults: blocks that are taken back undo what was in them, faces lag, lie and lose by their plan."""

import pytest
from direct_rpc import DirectRpc
from hypothesis import given, settings
from hypothesis import strategies as st
from local_net import LocalNet
from solders.transaction import VersionedTransaction

from billing.chains.local.blockhashes import VALID_BLOCKS
from billing.chains.local.faults.faces import faces_of
from billing.chains.local.faults.plan import ERA_BLOCKS, Fate, FaultPlan, Rates
from billing.chains.local.jsonrpc import Dispatcher
from billing.chains.local.methods import Methods
from billing.chains.local.slots import Commitment
from billing.chains.local.view import Lag, View
from billing.chains.port import ChainUnavailable, SignatureState
from billing.chains.solana import SolanaChain

QUIET = Rates(liar=0, reorganization=0, storm=0, lag=0, away=0, silence=0)


def behind(net: LocalNet, *lags: Lag) -> SolanaChain:
    """The chain as RPCs see it that lag so far."""
    chain = net.server.chain
    faces = [Dispatcher(chain, Methods(View(chain, lag), net.server.market).table) for lag in lags]
    rpc = DirectRpc(faces)
    return SolanaChain(rpc.urls, rpc=rpc)


def test_what_was_in_blocks_that_are_taken_back_has_not_happened_and_may_happen_again(net: LocalNet) -> None:
    payer = net.wallet(1_000)
    before = net.chain.token_balance(net.treasury, net.mint)
    wire = net.deposit(payer, 400)
    signature = net.chain.send(wire)
    net.blocks(1)
    chain = net.server.chain
    height, finalized = chain.height(Commitment.PROCESSED), chain.height(Commitment.FINALIZED)
    (taken,) = chain.take_back(2)
    assert bytes(taken) == wire
    assert chain.height(Commitment.PROCESSED) == height - 2
    assert chain.height(Commitment.FINALIZED) == finalized, "what was finalized stays so"
    assert net.chain.signature_statuses([signature])[0].state is SignatureState.UNKNOWN
    chain.submit(VersionedTransaction.from_bytes(wire), preflight=True)
    net.finalize()
    assert net.chain.token_balance(net.treasury, net.mint) == before + 400
    assert net.chain.token_balance(str(payer.pubkey()), net.mint) == 600


def test_a_blockhash_of_a_block_that_was_taken_back_lets_nothing_land(net: LocalNet) -> None:
    payer = net.wallet(1_000)
    net.blocks(1)
    chain = net.server.chain
    newest = chain.blockhash_at(chain.height(Commitment.PROCESSED))
    chain.take_back(1)
    net.blocks(3)
    assert not chain.is_blockhash_valid(newest)
    assert chain.is_blockhash_valid(chain.blockhash_at(chain.height(Commitment.PROCESSED)))
    net.chain.send(net.deposit(payer, 10))
    net.finalize()
    assert net.chain.token_balance(str(payer.pubkey()), net.mint) == 990


def test_what_is_finalized_is_never_taken_back(net: LocalNet) -> None:
    payer = net.wallet(1_000)
    net.chain.send(net.deposit(payer, 400))
    net.finalize()
    assert net.server.chain.take_back(100) == []
    assert net.chain.token_balance(str(payer.pubkey()), net.mint) == 600


def test_an_rpc_that_lags_shows_the_chain_as_it_was_with_a_finalized_height_of_its_own(net: LocalNet) -> None:
    payer = net.wallet(1_000)
    net.blocks(10)
    signature = net.chain.send(net.deposit(payer, 400))
    net.finalize()
    late, slow = Lag(blocks=4), Lag(finality=2)
    for lag, state, balance in ((late, SignatureState.UNKNOWN, 1_000), (slow, SignatureState.CONFIRMED, 1_000)):
        chain = behind(net, lag)
        assert chain.signature_statuses([signature])[0].state is state
        assert chain.token_balance(str(payer.pubkey()), net.mint) == balance
        assert chain.finalized_block_height() == net.chain.finalized_block_height() - lag.blocks - lag.finality
    assert behind(net, late, Lag()).finalized_status(signature) is None, "one alone is not believed"
    assert behind(net, late, Lag(), Lag()).finalized_status(signature) is not None
    with pytest.raises(ChainUnavailable):
        SolanaChain(["http://127.0.0.1:9", net.url]).finalized_status(signature)


def test_a_transaction_has_expired_only_when_no_face_is_behind_it(net: LocalNet) -> None:
    last_valid = net.chain.latest_blockhash().last_valid_block_height
    unsent = "1" * 88
    net.blocks(VALID_BLOCKS + 10)
    assert behind(net, Lag(), Lag()).is_expired_everywhere(unsent[:64], last_valid)
    assert not behind(net, Lag(), Lag(finality=20), Lag()).is_expired_everywhere(unsent[:64], last_valid)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_a_plan_is_the_same_each_time_lies_with_one_face_and_ends(seed: int) -> None:
    until = 5 * ERA_BLOCKS
    plans = [FaultPlan(seed, until=until) for _ in range(2)]
    heights = range(0, 2 * until, 7)
    assert [plans[0].weather(height) for height in heights] == [plans[1].weather(height) for height in heights]
    fates = [[plan.fate(face, height) for height in heights for face in range(3)] for plan in plans]
    assert fates[0] == fates[1]
    peace = plans[0].weather(until)
    assert peace.liar is None and not peace.away and peace.rewinds_at is None and set(peace.lags) == {Lag()}
    assert plans[0].fate(0, until) is Fate.LANDED and not plans[0].is_silent(0, until)


def test_without_a_plan_the_chain_has_no_faces_and_a_plan_befalls_its_faces_alone(net: LocalNet) -> None:
    assert net.server.face_urls == []
    plan = FaultPlan(1, until=10**9, rates=Rates(1, 0, 1, 0, 0, 0))
    faces, weather = faces_of(net.server.chain, net.server.market, plan)
    rpc = DirectRpc(faces)
    payer = net.wallet(1_000)
    signature = SolanaChain(rpc.urls, rpc=rpc).send(net.deposit(payer, 400))
    assert net.chain.signature_statuses([signature])[0].state is SignatureState.UNKNOWN, "a storm lets nothing land"
    assert sum(weather.counts.values()) == plan.faces
    calm, _ = faces_of(net.server.chain, net.server.market, FaultPlan(1, until=10**9, rates=QUIET))
    assert SolanaChain(DirectRpc(calm).urls, rpc=DirectRpc(calm)).sol_balance(net.treasury) > 0
