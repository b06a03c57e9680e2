"""Which engine a device gets: the fastest that is there and computes exactly."""

from collections.abc import Callable, Sequence

import numpy as np

from provider_agent.proving.engines.cupy_engine import CupyEngine
from provider_agent.proving.engines.numpy_engine import NumpyEngine
from provider_agent.proving.engines.port import Engine, EngineUnusable
from provider_agent.proving.engines.torch_engine import TorchEngine

CPU = "cpu"
TRIED_SIZE = 128
OF_A_GPU: Sequence[Callable[[], Engine]] = (CupyEngine, TorchEngine)


def engine_for(device: str, makers: Sequence[Callable[[], Engine]] = OF_A_GPU) -> Engine:
    """The engine for a GPU's UUID, or for `cpu`. Raises EngineUnusable, with the reason of each that was tried."""
    if device == CPU:
        return NumpyEngine()
    reasons = []
    for make in makers:
        try:
            engine = make()
            check(engine)
        except EngineUnusable as error:
            reasons.append(str(error))
        else:
            return engine
    raise EngineUnusable("; ".join(reasons))


def check(engine: Engine) -> None:
    """Raises EngineUnusable unless a small round is what numpy makes of it. It also warms the engine up."""
    seed, numpy_engine = bytes(range(32)), NumpyEngine()
    try:
        found = _round(engine, seed)
    except Exception as error:  # Drivers and libraries that do not fit raise whatever they like.
        raise EngineUnusable(f"{engine.name} does not compute here: {error}") from None
    if not np.array_equal(found, _round(numpy_engine, seed)):
        raise EngineUnusable(f"{engine.name} does not compute exactly here")


def _round(engine: Engine, seed: bytes) -> np.ndarray:
    left, right = engine.matrix(seed, TRIED_SIZE), engine.factor(engine.matrix(seed[::-1], TRIED_SIZE))
    return engine.fingerprints(engine.product(left, right), seed)
