"""What one RPC of the local chain sees of it: all of it, or the chain as it was some blocks ago."""

from dataclasses import dataclass

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from billing.chains.local.blockhashes import VALID_BLOCKS
from billing.chains.local.chain import LocalChain
from billing.chains.local.slots import Commitment
from billing.chains.local.store import Landed


@dataclass(frozen=True)
class Lag:
    """How far an RPC is behind, in blocks; finality: how much further its finalized height is."""

    blocks: int = 0
    finality: int = 0


class View:
    def __init__(self, chain: LocalChain, lag: Lag | None = None) -> None:
        self.chain = chain
        self.lag = lag or Lag()

    def height(self, commitment: Commitment) -> int:
        behind = self.lag.blocks + (self.lag.finality if commitment is Commitment.FINALIZED else 0)
        return max(0, self.chain.height(commitment) - behind)

    def latest_blockhash(self, commitment: Commitment) -> tuple[Hash, int]:
        """With the last height at which a transaction over it may land."""
        height = self.height(commitment)
        return self.chain.blockhash_at(height), height + VALID_BLOCKS

    def find(self, signature: Signature, commitment: Commitment) -> Landed | None:
        return self.chain.find(signature, self.height(commitment))

    def commitment_of(self, landed: Landed) -> Commitment:
        return next(
            level
            for level in (Commitment.FINALIZED, Commitment.CONFIRMED, Commitment.PROCESSED)
            if landed.height <= self.height(level)
        )

    def is_recent(self, height: int) -> bool:
        """Whether a block is young enough for a node to know its signatures without searching the history."""
        return height >= self.height(Commitment.PROCESSED) - VALID_BLOCKS

    def mentioning(
        self,
        address: Pubkey,
        commitment: Commitment,
        *,
        until: Signature | None,
        before: Signature | None,
        limit: int,
    ) -> list[Landed]:
        """Transactions that name the address, newest first, between the two signatures (both excluded)."""
        return self.chain.mentioning(address, self.height(commitment), until=until, before=before, limit=limit)

    def account(self, key: Pubkey, commitment: Commitment) -> Account | None:
        return self.chain.account(key, self.height(commitment))
