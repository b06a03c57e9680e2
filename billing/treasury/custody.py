"""Custody: the treasury and the token it holds, and the chain it holds them on, from the settings."""

from dataclasses import dataclass
from functools import lru_cache

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from billing.chains.keypairs import load_keypair
from billing.chains.port import Chain
from billing.chains.solana import SolanaChain
from billing.chains.transactions import associated_token_address
from infra.settings import settings
from market.errors import Unavailable


@dataclass(frozen=True)
class Custody:
    """treasury: its key in a process that signs, which it never leaves; in every other its address alone."""

    treasury: Keypair | Pubkey
    mint: str

    @property
    def address(self) -> str:
        return str(self.treasury.pubkey() if isinstance(self.treasury, Keypair) else self.treasury)

    @property
    def signer(self) -> Keypair:
        """Raises Unavailable in a process that was not given the key."""
        if isinstance(self.treasury, Keypair):
            return self.treasury
        raise Unavailable("this process signs nothing for the treasury", remedy="give workers GRIDBAY_TREASURY_KEYPAIR")

    @property
    def token_account(self) -> str:
        """Where the treasury's tokens are."""
        return associated_token_address(self.address, self.mint)


@lru_cache(maxsize=1)
def custody() -> Custody:
    """Raises Unavailable on a market without a treasury, or with two."""
    path, address, mint = settings().treasury_keypair, settings().treasury_address, settings().usdc_mint
    if path is None and address is None:
        raise Unavailable(
            "this market has no treasury, so it takes no deposits and pays nothing out",
            remedy="its operator sets GRIDBAY_TREASURY_ADDRESS, and for workers GRIDBAY_TREASURY_KEYPAIR",
        )
    if path is None:
        return Custody(_public(str(address)), mint)
    found = Custody(load_keypair(path), mint)
    if address not in (None, found.address):
        raise Unavailable(
            f"GRIDBAY_TREASURY_KEYPAIR is the key of {found.address}, and GRIDBAY_TREASURY_ADDRESS says {address}",
            remedy="name the address of that key, in every process",
        )
    return found


def has_treasury() -> bool:
    return settings().treasury_keypair is not None or settings().treasury_address is not None


def signs() -> bool:
    """Whether this process was given the treasury's key."""
    return settings().treasury_keypair is not None


def _public(address: str) -> Pubkey:
    try:
        return Pubkey.from_string(address)
    except ValueError:
        raise Unavailable(
            f"GRIDBAY_TREASURY_ADDRESS is {address!r}, which is no address of the chain",
            remedy="set it to the public address of the treasury's key",
        ) from None


@lru_cache(maxsize=1)
def chain() -> Chain:
    """The chain at the RPC URLs of the settings."""
    return SolanaChain(settings().solana_rpc_urls)
