"""The local chain goes on where it stood: after kill -9, after SIGTERM, and through any order of transfers."""

import json
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_net import TIMING, ask, result
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from billing.chains.keypairs import load_keypair
from billing.chains.local.blockhashes import VALID_BLOCKS, Blockhashes
from billing.chains.local.faucet import Faucet
from billing.chains.local.genesis import open_chain, prepare
from billing.chains.local.runtime import token_account
from billing.chains.local.server import LocalChainServer
from billing.chains.local.slots import Commitment
from billing.chains.local.store import Store, StoreLocked
from billing.chains.payments import Payment, payout_batch
from billing.chains.port import SignatureState
from billing.chains.solana import SolanaChain
from billing.chains.transactions import associated_token_address

SERVE = """
import sys
from pathlib import Path
from billing.chains.local.server import serve
serve(Path(sys.argv[1]), "127.0.0.1", 0)
"""


@dataclass
class ChainProcess:
    """A real server process and the lines that it logged so far."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def url(self) -> str:
        assert self.process.stderr is not None
        assert select.select([self.process.stderr], [], [], 20)[0], "the local chain did not start"
        self.lines.append(json.loads(self.process.stderr.readline()))
        return str(self.lines[0]["url"])

    def end(self, signum: int) -> int:
        self.process.send_signal(signum)
        out, rest = self.process.communicate(timeout=20)
        assert out == ""
        self.lines += [json.loads(line) for line in rest.splitlines()]
        return self.process.returncode


@pytest.fixture
def start() -> Iterator[Callable[[Path], ChainProcess]]:
    processes: list[subprocess.Popen[str]] = []

    def run(state_dir: Path) -> ChainProcess:
        command = [sys.executable, "-c", SERVE, str(state_dir)]
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        return ChainProcess(processes[-1])

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path, start: Callable[[Path], ChainProcess]) -> None:
    market = prepare(tmp_path / "chain")
    treasury, provider = load_keypair(market.treasury_keypair_path), str(Keypair().pubkey())
    first = start(tmp_path / "chain")
    url = first.url()
    for owner in (market.treasury, provider):
        result(url, "gridbay_mintTestUsdc", owner, 1_000)
    chain = SolanaChain([url])
    blockhash = chain.latest_blockhash()
    payouts = [
        payout_batch(
            treasury=treasury,
            mint=market.mint,
            payments=[Payment(provider, 1 + n)],
            memo=f"payout {n}",
            blockhash=blockhash.value,
        )
        for n in range(5)
    ]
    for payout in payouts:
        chain.send(payout.wire)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    url = start(tmp_path / "chain").url()
    chain = SolanaChain([url])
    account = associated_token_address(provider, market.mint)
    processed = {"commitment": "processed"}
    height = result(url, "getBlockHeight", processed)
    assert height > blockhash.last_valid_block_height - VALID_BLOCKS
    assert result(url, "getTokenAccountBalance", account, processed)["value"]["amount"] == "1015"
    statuses = chain.signature_statuses([payout.signature for payout in payouts])
    assert all(status.state != SignatureState.UNKNOWN and status.failure is None for status in statuses)
    for payout in payouts:
        assert chain.send(payout.wire) == payout.signature
    assert result(url, "getTokenAccountBalance", account, processed)["value"]["amount"] == "1015"
    found = result(url, "getSignaturesForAddress", account, {"commitment": "confirmed"})
    if len(found) < 6:  # the blocks of the last ones are not confirmed yet
        found = wait_for(lambda: result(url, "getSignaturesForAddress", account, {"commitment": "confirmed"}), 6)
    assert [line["signature"] for line in found][:5] == [payout.signature for payout in payouts][::-1]


def wait_for(read: Callable[[], list[Any]], count: int) -> list[Any]:
    for _ in range(2_000):
        if len(found := read()) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count}")


def test_sigterm_ends_it_cleanly_and_every_line_is_json(tmp_path: Path, start: Callable[[Path], ChainProcess]) -> None:
    chain = start(tmp_path)
    url = chain.url()
    height = result(url, "getBlockHeight", {"commitment": "processed"})
    ask(url, "no such method")
    assert chain.end(signal.SIGTERM) == 0
    assert [line["event"] for line in chain.lines] == ["local chain ready", "local chain stopped"]
    assert {"url", "mint", "treasury", "level", "at"} <= chain.lines[0].keys()
    store = Store(tmp_path / "chain.sqlite3")
    # a clean stop wastes no heights: at most the blocks of the time it took
    assert height < store.next_height() < height + 100
    store.close()


def test_a_chain_runs_once(tmp_path: Path, start: Callable[[Path], ChainProcess]) -> None:
    chain = start(tmp_path)
    url = chain.url()
    with pytest.raises(StoreLocked, match="stop that local chain first"):
        LocalChainServer(tmp_path)
    assert result(url, "getHealth") == "ok"
    # the keys may be asked for at any time
    assert prepare(tmp_path).mint == chain.lines[0]["mint"]


def test_the_faucet_is_not_offered_to_the_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loopback"):
        LocalChainServer(tmp_path, "0.0.0.0")
    assert list(tmp_path.iterdir()) == []


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    market = prepare(tmp_path / "chain")
    for path in (market.treasury_keypair_path, market.faucet_keypair_path, market.mint_keypair_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "chain").stat().st_mode & 0o777 == 0o700
    assert str(load_keypair(market.treasury_keypair_path).pubkey()) == market.treasury


STEPS = st.one_of(
    st.tuples(st.just("pay"), st.integers(0, 2), st.integers(0, 2), st.integers(1, 150)),
    st.tuples(st.just("resend")),
    st.tuples(st.just("blocks"), st.sampled_from([1, 3, 149, 151])),
    st.tuples(st.just("restart"), st.booleans()),
)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_money_is_where_the_transfers_say_through_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    folder, seconds = tmp_path_factory.mktemp("chain"), [0.0]
    chain, market = open_chain(folder, TIMING, lambda: seconds[0])
    owners = [Keypair() for _ in range(3)]
    expected = [100, 100, 100]
    faucet = Faucet(chain, load_keypair(market.faucet_keypair_path), Pubkey.from_string(market.mint))
    for owner in owners:
        faucet.airdrop(owner.pubkey(), 10**9)
        faucet.mint_test_usdc(owner.pubkey(), 100)
    last, height = None, chain.height(Commitment.PROCESSED)
    for number, (step, *values) in enumerate(steps):
        if step == "pay":
            source, target, amount = values
            blockhash = chain.blockhash_at(chain.height(Commitment.CONFIRMED))
            signed = payout_batch(
                treasury=owners[source],
                mint=market.mint,
                payments=[Payment(str(owners[target].pubkey()), amount)],
                memo=f"step {number}",
                blockhash=str(blockhash),
            )
            last = VersionedTransaction.from_bytes(signed.wire)
            chain.submit(last, preflight=False)
            if amount <= expected[source]:
                expected[source] -= amount
                expected[target] += amount
        elif step == "resend" and last is not None:
            chain.submit(last, preflight=False)
        elif step == "blocks":
            seconds[0] += values[0]
        elif step == "restart":
            if values[0]:
                chain.close()
            else:
                # as kill -9 leaves it: what was written is there, what was not is lost
                chain._store.close()
            chain, _ = open_chain(folder, TIMING, lambda: seconds[0])
        assert chain.height(Commitment.PROCESSED) >= height
        height = chain.height(Commitment.PROCESSED)
        assert [balance(chain, market.mint, owner) for owner in owners] == expected
    chain.close()


def balance(chain: Any, mint: str, owner: Keypair) -> int:
    address = Pubkey.from_string(associated_token_address(str(owner.pubkey()), mint))
    token = token_account(chain.account(address, chain.height(Commitment.PROCESSED)))
    return 0 if token is None else token.amount


@given(st.lists(st.integers(0, 400), max_size=20))
def test_exactly_the_newest_151_blocks_have_valid_hashes(jumps: list[int]) -> None:
    hashes, now = Blockhashes(Hash.new_unique()), 1_000
    for jump in jumps:
        now += jump
        for height, valid in (
            (now + 1, False),
            (now, True),
            (now - VALID_BLOCKS, True),
            (now - VALID_BLOCKS - 1, False),
        ):
            assert hashes.is_recent(hashes.at(height), now) is valid
        assert len(hashes._heights) == VALID_BLOCKS + 1
