"""RPC faces over one local chain that a plan's faults befall. The caller holds the chain's lock, as for Methods."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from solders.transaction import VersionedTransaction

from billing.chains.local.chain import LocalChain
from billing.chains.local.faults.plan import Fate, FaultPlan, Lie
from billing.chains.local.genesis import LocalMarket
from billing.chains.local.jsonrpc import Dispatcher, Silence
from billing.chains.local.methods import Methods
from billing.chains.local.params import Params
from billing.chains.local.slots import Commitment
from billing.chains.local.view import View

_AHEAD_BLOCKS: Final = 1_000
_INVENTED_ERROR: Final = {"InstructionError": [0, {"Custom": 1}]}
Method = Callable[[Params], Any]


class Weather:
    """What befalls the chain itself: blocks that are taken back, transactions that land late.

    counts: how often each fault has happened.
    """

    def __init__(self, chain: LocalChain, plan: FaultPlan) -> None:
        self.chain, self.plan = chain, plan
        self.counts: Counter[str] = Counter()
        self._late: list[tuple[int, VersionedTransaction]] = []
        self._rewound: set[int] = set()

    @property
    def height(self) -> int:
        return self.chain.height(Commitment.PROCESSED)

    def advance(self) -> None:
        """Let happen what is due by now."""
        era = self.plan.weather(self.height)
        if era.rewinds_at is not None and self.height >= era.rewinds_at and era.rewinds_at not in self._rewound:
            self._rewound.add(era.rewinds_at)
            self.counts["blocks taken back"] += 1
            for transaction in self.chain.take_back(era.rewound):
                self.counts["transactions taken back"] += 1
                if self.plan.survives_reorganization():
                    self.land_later(transaction, 2 * era.rewound)
        due = [transaction for at, transaction in self._late if at <= self.height]
        self._late = [(at, transaction) for at, transaction in self._late if at > self.height]
        for transaction in due:
            self.chain.submit(transaction, preflight=False)

    def land_later(self, transaction: VersionedTransaction, blocks: int) -> None:
        """If it has not expired by then."""
        self._late.append((self.height + blocks, transaction))


class FaultyFace:
    def __init__(self, number: int, weather: Weather, market: LocalMarket) -> None:
        self.number, self._weather, self._plan = number, weather, weather.plan
        self._view = View(weather.chain)
        methods = Methods(self._view, market).table
        self.table: dict[str, Method] = {name: partial(self._call, name, method) for name, method in methods.items()}

    def _call(self, name: str, method: Method, params: Params) -> Any:
        weather, counts = self._weather, self._weather.counts
        weather.advance()
        era = self._plan.weather(weather.height)
        self._view.lag = era.lags[self.number]
        if self.number in era.away or self._plan.is_silent(self.number, weather.height):
            counts["silence"] += 1
            raise Silence
        if name == "sendTransaction":
            return self._send(method, params)
        counts["answers from behind"] += self._view.lag.blocks > 0
        answer = method(params)
        if era.liar != self.number:
            return answer
        lied = _lie(era.lie, name, answer)
        counts[era.lie.value] += lied != answer
        return lied

    def _send(self, method: Method, params: Params) -> Any:
        fate = self._plan.fate(self.number, self._weather.height)
        self._weather.counts[f"sent: {fate}"] += 1
        if fate in (Fate.LANDED, Fate.UNHEARD):
            answer = method(params)
            if fate is Fate.UNHEARD:
                raise Silence
            return answer
        transaction = params.transaction(0, params.options(1))
        if fate is Fate.DELAYED:
            self._weather.land_later(transaction, self._plan.delay(self.number))
        return str(transaction.signatures[0])


def faces_of(chain: LocalChain, market: LocalMarket, plan: FaultPlan) -> tuple[list[Dispatcher], Weather]:
    """The chain's faces under that plan, and what befalls it."""
    weather = Weather(chain, plan)
    return [Dispatcher(chain, FaultyFace(number, weather, market).table) for number in range(plan.faces)], weather


def _lie(lie: Lie, method: str, answer: Any) -> Any:
    """What a liar says instead of the answer."""
    if lie is Lie.DENIES:
        match method:
            case "getBlockHeight":
                return answer + _AHEAD_BLOCKS
            case "getTransaction":
                return None
            case "getSignaturesForAddress":
                return []
            case "getSignatureStatuses":
                return {**answer, "value": [None] * len(answer["value"])}
    elif method == "getSignatureStatuses":
        error = _INVENTED_ERROR if lie is Lie.CLAIMS_FAILURE else None
        slot = answer["context"]["slot"]
        status = {"slot": slot, "confirmations": None, "err": error, "confirmationStatus": Commitment.FINALIZED}
        return {**answer, "value": [status for _ in answer["value"]]}
    return answer
