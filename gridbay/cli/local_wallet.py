"""A wallet on an embedded market's own chain, with test money from its faucet; no real chain has such a thing."""

import base64
from pathlib import Path
from typing import Any

import httpx

from billing.chains.keypairs import ensure_keypair
from billing.chains.transactions import SignedTransaction, create_token_account, deposit
from gridbay.client.anchors import rpc
from market.funds_api import DepositView

SOL_LAMPORTS = 10**9
LAMPORTS_ENOUGH = SOL_LAMPORTS // 10


class LocalWallet:
    """path: its keypair, made if there is none. Every method raises Unavailable if the chain does not answer."""

    def __init__(self, rpc_url: str, path: Path) -> None:
        self._rpc_url = rpc_url
        self._key = ensure_keypair(path)
        self._http = httpx.Client(timeout=20.0)

    def __enter__(self) -> "LocalWallet":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    @property
    def address(self) -> str:
        return str(self._key.pubkey())

    def pay(self, wanted: DepositView) -> str:
        """Pay a deposit with fresh test USDC; the transaction's signature."""
        self.fund(wanted.amount.microusd)
        return self._send(
            deposit(
                payer=self._key,
                treasury=wanted.recipient,
                mint=wanted.mint,
                amount_microusd=wanted.amount.microusd,
                memo=wanted.memo,
                reference=wanted.reference,
                blockhash=self._blockhash(),
            )
        )

    def fund(self, amount_microusd: int) -> None:
        """Have that much fresh test USDC in it, and SOL for fees."""
        self._refill()
        self._call("gridbay_mintTestUsdc", self.address, amount_microusd)

    def open_token_account(self, owner: str) -> str:
        """Make the owner's account for test USDC, at this wallet's cost; the transaction's signature."""
        self._refill()
        mint = str(self._call("gridbay_market")["mint"])
        return self._send(create_token_account(payer=self._key, owner=owner, mint=mint, blockhash=self._blockhash()))

    def treasury(self) -> str:
        """The address that signs this market's anchors, as its chain was founded with."""
        return str(self._call("gridbay_market")["treasury"])

    def _refill(self) -> None:
        balance = self._call("getBalance", self.address, {"commitment": "processed"})["value"]
        if int(balance) < LAMPORTS_ENOUGH:
            self._call("requestAirdrop", self.address, SOL_LAMPORTS)

    def _blockhash(self) -> str:
        return str(self._call("getLatestBlockhash", {"commitment": "confirmed"})["value"]["blockhash"])

    def _send(self, transaction: SignedTransaction) -> str:
        wire = base64.b64encode(transaction.wire).decode()
        # The money was made a moment ago: simulate against what is processed, not what is final.
        options = {"encoding": "base64", "preflightCommitment": "processed"}
        return str(self._call("sendTransaction", wire, options))

    def _call(self, method: str, *params: Any) -> Any:
        return rpc(self._http, self._rpc_url, method, params)
