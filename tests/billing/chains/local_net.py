"""A local chain behind its real HTTP port, in this process, whose time passes only when a test says so."""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

from solders.keypair import Keypair

from billing.chains.keypairs import load_keypair
from billing.chains.local.server import LocalChainServer
from billing.chains.local.slots import Timing
from billing.chains.solana import SolanaChain
from billing.chains.transactions import deposit

TIMING = Timing(slot_seconds=1.0, confirmed_after=1, finalized_after=3)


def ask(url: str, method: str, *params: Any) -> Any:
    """The whole JSON-RPC answer, error or not."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def result(url: str, method: str, *params: Any) -> Any:
    answer = ask(url, method, *params)
    assert "error" not in answer, answer
    return answer["result"]


class LocalNet:
    def __init__(self, state_dir: Path) -> None:
        self._seconds = 0.0
        self.server = LocalChainServer(state_dir, timing=TIMING, clock=lambda: self._seconds)
        self.url = self.server.url
        self.chain = SolanaChain([self.url])
        self.mint = self.server.market.mint
        self.treasury = self.server.market.treasury
        self.treasury_key = load_keypair(self.server.market.treasury_keypair_path)
        self._thread = threading.Thread(target=self.server.run, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.server.stop()
        self._thread.join()
        self.server.close()

    def blocks(self, count: int) -> None:
        self._seconds += count * TIMING.slot_seconds

    def finalize(self) -> None:
        self.blocks(TIMING.finalized_after)

    def wallet(self, microusd: int = 0, lamports: int = 10**9) -> Keypair:
        """A new customer or provider with finalized money; the token account exists if tokens were asked for."""
        key = Keypair()
        if lamports:
            result(self.url, "requestAirdrop", str(key.pubkey()), lamports)
        if microusd:
            result(self.url, "gridbay_mintTestUsdc", str(key.pubkey()), microusd)
        self.finalize()
        return key

    def deposit(self, payer: Keypair, microusd: int, reference: str | None = None, memo: str = "deposit") -> bytes:
        return deposit(
            payer=payer,
            treasury=self.treasury,
            mint=self.mint,
            amount_microusd=microusd,
            memo=memo,
            reference=reference or str(Keypair().pubkey()),
            blockhash=self.chain.latest_blockhash().value,
        ).wire
