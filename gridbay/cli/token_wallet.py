"""A wallet that approves and revokes, by a keypair file of its owner's, on any chain."""

import time
from collections.abc import Callable
from pathlib import Path

from billing.chains.keypairs import load_keypair
from billing.chains.port import ChainError
from billing.chains.solana import SolanaChain
from billing.chains.transactions import SignedTransaction, approve, associated_token_address, revoke
from market.errors import InvalidInput, Unavailable
from market.funds_api import AllowanceView

PATIENCE_SECONDS, LOOK_SECONDS = 10.0, 0.5
"""So long a transaction may be refused for what was sent a moment before it, such as the tokens themselves."""


class TokenWallet:
    def __init__(self, rpc_url: str, path: Path) -> None:
        """path: its keypair. Raises InvalidInput."""
        try:
            self._key = load_keypair(path)
            self._chain = SolanaChain([rpc_url])
        except (OSError, ValueError) as error:
            raise InvalidInput(str(error)) from None

    def approve(self, wanted: AllowanceView, amount_microusd: int) -> str:
        """Let the market take up to that much of the wallet's own token account, or the one that is registered.

        Returns the signature. Raises InvalidInput, Unavailable.
        """
        address = str(self._key.pubkey())
        if wanted.owner is not None and wanted.owner != address:
            raise InvalidInput(
                f"{wanted.token_account} belongs to {wanted.owner}, and this keypair is {address}",
                remedy="use its keypair, or end it first: gridbay allowance revoke",
            )
        account = wanted.token_account or associated_token_address(address, wanted.mint)
        return self._send(
            lambda blockhash: approve(
                owner=self._key,
                token_account=account,
                mint=wanted.mint,
                delegate=wanted.delegate,
                amount_microusd=amount_microusd,
                memo=wanted.memo,
                blockhash=blockhash,
            )
        )

    def revoke(self, token_account: str) -> str:
        """Let nobody take anything any more; the signature. Raises InvalidInput, Unavailable."""
        return self._send(lambda blockhash: revoke(owner=self._key, token_account=token_account, blockhash=blockhash))

    def _send(self, make: Callable[[str], SignedTransaction]) -> str:
        until = time.monotonic() + PATIENCE_SECONDS
        try:
            while True:
                made = make(self._chain.latest_blockhash().value)
                failure = self._chain.simulate(made.wire).failure
                if failure is None:
                    return self._chain.send(made.wire)
                if time.monotonic() > until:
                    raise InvalidInput(
                        f"the chain refuses it: {failure.reason}",
                        remedy=f"{self._key.pubkey()} needs a token account for this mint, and SOL for the fee",
                    )
                time.sleep(LOOK_SECONDS)
        except ChainError as error:
            raise Unavailable(f"the chain does not answer: {error}") from error
