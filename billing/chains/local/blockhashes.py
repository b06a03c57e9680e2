"""The local chain's blockhashes: one a block, computed from the genesis, valid for as long as on mainnet.

LiteSVM accepts only its newest blockhash and repeats its hashes after a restart. Here the hash of a block depends on
the chain's genesis, the height and the forks below it alone: a blockhash outlives a restart, and not its block.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from solders.hash import Hash

VALID_BLOCKS: Final = 150


class Blockhashes:
    def __init__(self, genesis: Hash, forks: Iterable[int] = ()) -> None:
        """forks: the height above which each of them replaced the blocks, oldest first."""
        self._genesis = bytes(genesis)
        self._forks = list(forks)
        self._heights: dict[Hash, int] = {}
        self._newest = -1

    def at(self, height: int) -> Hash:
        seed = self._genesis + height.to_bytes(8, "little")
        for number in range(len(self._forks), 0, -1):
            if self._forks[number - 1] < height:
                seed += number.to_bytes(8, "little")
                break
        return Hash(hashlib.sha256(seed).digest())

    def fork(self, above: int) -> None:
        """The blocks above this height are others from now on."""
        self._forks.append(above)
        self._heights = {found: height for found, height in self._heights.items() if height <= above}
        self._newest = min(self._newest, above)

    def is_recent(self, blockhash: Hash, now: int) -> bool:
        """Whether a transaction over this blockhash may land in the block of height `now`."""
        self._follow(now)
        return blockhash in self._heights

    def _follow(self, now: int) -> None:
        """Make the window hold the newest blocks and no others."""
        oldest = now - VALID_BLOCKS
        for height in range(max(oldest, self._newest + 1), now + 1):
            self._heights[self.at(height)] = height
        self._newest = now
        # Insertion order is height order, so what is too old stands in front.
        while self._heights and next(iter(self._heights.values())) < oldest:
            del self._heights[next(iter(self._heights))]
