"""The child process of one proof: turns come in as lines of JSON, what they give goes out as lines of JSON.

It runs under whatever Python has the engine, so it imports the standard library, numpy and `market.proof` alone.
The first line out says which engine there is; the process ends with its input.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TextIO

from market.proof.challenge import Challenge
from market.proof.commitment import Opening
from provider_agent.proving.engines.choice import engine_for
from provider_agent.proving.engines.port import Engine, EngineUnusable
from provider_agent.proving.prover import Chain


@dataclass
class Turns:
    """Answers one turn after the other."""

    engine: Engine
    _chain: Chain | None = field(default=None, init=False)

    def take(self, turn: dict[str, Any]) -> dict[str, Any]:
        """Raises ValueError for a turn that is none, or before its time."""
        kind = turn.get("turn")
        if kind == "run":
            asked = {name: turn[name] for name in ("challenge_id", "node_id", "device", "size", "rounds", "kept")}
            self._chain = Chain(self.engine, Challenge(nonce=bytes.fromhex(turn["nonce"]), **asked))
            return {"roots": [root.hex() for root in self._chain.run()]}
        if self._chain is None:
            raise ValueError(f"{kind!r} before any chain was run")
        if kind == "remember":
            return {"roots": [root.hex() for root in self._chain.remember(bytes.fromhex(turn["memory_nonce"]))]}
        if kind == "show":
            shown = self._chain.show(bytes.fromhex(turn["secret"]), bytes.fromhex(turn["memory_secret"]))
            return dict(zip(("openings", "memory_openings"), map(_plain, shown), strict=True))
        if kind == "copy":
            self._chain = None  # Its memory is wanted for the copies.
            return {"speeds": self.engine.copies() or {}, "multiprocessors": self.engine.multiprocessors()}
        raise ValueError(f"{kind!r} is no turn")


def main(device: str, lines: Iterable[str] = sys.stdin, out: TextIO = sys.stdout) -> int:
    """Serve one proof on that device."""
    try:
        turns = Turns(engine_for(device))
    except EngineUnusable as error:
        _say(out, {"unusable": str(error)})
        return 1
    _say(out, {"engine": turns.engine.name})
    for line in lines:
        try:
            _say(out, turns.take(json.loads(line)))
        except Exception as error:  # Out of memory, a card that fell off: the parent gives this proof up.
            _say(out, {"failed": f"{type(error).__name__}: {error}"[:500]})
            return 1
    return 0


def _plain(openings: list[Opening]) -> list[dict[str, Any]]:
    return [
        {"leaf": opening.leaf.hex(), "siblings": [sibling.hex() for sibling in opening.siblings]}
        for opening in openings
    ]


def _say(out: TextIO, told: dict[str, Any]) -> None:
    out.write(json.dumps(told) + "\n")
    out.flush()
