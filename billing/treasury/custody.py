"""Custody: the treasury's key and the token it holds, and the chain it holds them on, from the settings."""

from dataclasses import dataclass
from functools import lru_cache

from solders.keypair import Keypair

from billing.chains.keypairs import load_keypair
from billing.chains.port import Chain
from billing.chains.solana import SolanaChain
from billing.chains.transactions import associated_token_address
from infra.settings import settings
from market.errors import Unavailable


@dataclass(frozen=True)
class Custody:
    """The key never leaves the process; its address is public."""

    treasury: Keypair
    mint: str

    @property
    def address(self) -> str:
        return str(self.treasury.pubkey())

    @property
    def token_account(self) -> str:
        """Where the treasury's tokens are."""
        return associated_token_address(self.address, self.mint)


@lru_cache(maxsize=1)
def custody() -> Custody:
    """Raises Unavailable on a market without a treasury."""
    path = settings().treasury_keypair
    if path is None:
        raise Unavailable(
            "this market has no treasury, so it takes no deposits and pays nothing out",
            remedy="its operator sets GRIDBAY_TREASURY_KEYPAIR to a Solana keypair file",
        )
    return Custody(load_keypair(path), settings().usdc_mint)


def has_treasury() -> bool:
    return settings().treasury_keypair is not None


@lru_cache(maxsize=1)
def chain() -> Chain:
    """The chain at the RPC URLs of the settings."""
    return SolanaChain(settings().solana_rpc_urls)
