"""What goes wrong on a local chain, drawn from a seed: the same seed, asked in the same order, is the same misfortune.

Time is cut into eras of some blocks, each with its own weather. At most one face lies in an era: that two RPCs tell
the truth, or say nothing, is what settlement rests on. Any number of them may be away, behind, or lose what they are
sent.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from random import Random
from typing import Final

from billing.chains.local.view import Lag

ERA_BLOCKS: Final = 40
LAG_BLOCKS_MAX: Final = 60
DELAY_BLOCKS_MAX: Final = 170
"""A little more than a blockhash lives: what is delayed longest has expired."""


class Fate(StrEnum):
    """What becomes of a transaction that a face is sent; all but LANDED and UNHEARD are answered like LANDED."""

    LANDED = "landed"
    UNHEARD = "landed, and the answer is lost"
    DELAYED = "lands later"
    DROPPED = "never lands"


class Lie(StrEnum):
    DENIES = "knows no transaction and says that the chain is far ahead"
    CLAIMS_SUCCESS = "calls everything finalized"
    CLAIMS_FAILURE = "calls everything finalized with an error"


@dataclass(frozen=True)
class Rates:
    """Chances from 0 to 1: liar, reorganization, storm of an era; lag, away of a face in an era; silence of a call.

    In a storm no face lets a transaction land at once.
    """

    liar: float = 0.5
    reorganization: float = 0.6
    storm: float = 0.4
    lag: float = 0.5
    away: float = 0.15
    silence: float = 0.05


@dataclass(frozen=True)
class Era:
    """The weather of ERA_BLOCKS blocks. rewinds_at: the height at which `rewound` blocks are taken back, if at any."""

    liar: int | None = None
    lie: Lie = Lie.DENIES
    storm: bool = False
    lags: tuple[Lag, ...] = ()
    away: frozenset[int] = frozenset()
    rewinds_at: int | None = None
    rewound: int = 0


class FaultPlan:
    """faces: how many RPCs there are; until: the height from which on nothing goes wrong any more."""

    def __init__(
        self, seed: int, *, faces: int = 3, until: int, depth_max: int = 20, rates: Rates | None = None
    ) -> None:
        self.seed, self.faces, self.until = seed, faces, until
        self._depth_max, self._rates = depth_max, rates or Rates()
        self._of_calls = [_random(seed, "calls", face) for face in range(faces)]
        self.era = lru_cache(maxsize=16)(self._era)

    def weather(self, height: int) -> Era:
        """Fair from `until` on."""
        return Era(lags=(Lag(),) * self.faces) if height >= self.until else self.era(height // ERA_BLOCKS)

    def is_silent(self, face: int, height: int) -> bool:
        """Whether this call of that face stays without an answer."""
        return height < self.until and self._of_calls[face].random() < self._rates.silence

    def fate(self, face: int, height: int) -> Fate:
        if height >= self.until:
            return Fate.LANDED
        draw = self._of_calls[face].random()
        if self.weather(height).storm:
            return Fate.DROPPED if draw < 0.6 else Fate.DELAYED
        return next(
            fate
            for fate, share in ((Fate.LANDED, 0.4), (Fate.UNHEARD, 0.6), (Fate.DELAYED, 0.8), (Fate.DROPPED, 1))
            if draw < share
        )

    def delay(self, face: int) -> int:
        """How many blocks later a delayed transaction lands."""
        return self._of_calls[face].randint(1, DELAY_BLOCKS_MAX)

    def survives_reorganization(self) -> bool:
        """Whether a transaction whose block was taken back comes again in another."""
        return self._of_calls[0].random() < 0.5

    def _era(self, number: int) -> Era:
        draw, rates = _random(self.seed, "era", number), self._rates
        lags = tuple(
            Lag(draw.randint(1, LAG_BLOCKS_MAX), draw.randint(0, LAG_BLOCKS_MAX))
            if draw.random() < rates.lag
            else Lag()
            for _ in range(self.faces)
        )
        away = frozenset(face for face in range(self.faces) if draw.random() < rates.away)
        rewinds = draw.random() < rates.reorganization
        return Era(
            liar=draw.randrange(self.faces) if draw.random() < rates.liar else None,
            lie=draw.choice(list(Lie)),
            storm=draw.random() < rates.storm,
            lags=lags,
            away=away,
            rewinds_at=number * ERA_BLOCKS + draw.randrange(ERA_BLOCKS) if rewinds else None,
            rewound=draw.randint(1, self._depth_max),
        )


def _random(*of: object) -> Random:
    return Random(":".join(map(str, of)))  # noqa: S311 (misfortune is to be repeatable)
