"""The market's packing as a policy of the judge of GPU placement (its README has the interface)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scheduler.placement.demand import Demand, Need
from scheduler.placement.packing import Packer


class Policy:
    """One owner's cluster: every node is a place, the trace's own pods are the recent requests."""

    name = "gridbay"

    def reset(self, view: Any, workload: Sequence[Any], rng: np.random.Generator) -> None:
        """Begin with an empty cluster. The judge's random numbers are not used: packing is deterministic."""
        del rng
        self._needs: dict[Any, Need] = {}
        supply = np.bincount(view.model[view.model >= 0], view.gpu_count[view.model >= 0], len(view.model_names))
        demand = Demand([self._need(pod) for pod in workload], supply.astype(int).tolist())
        self._packer = Packer(demand, np.arange(view.n), view.model, view.gpu_free, view.cpu_free, view.mem_free)

    def place(self, view: Any, pod: Any) -> tuple[int, list[int]] | None:
        """The node and its GPU slots, or None where the pod fits nowhere."""
        need = self._need(pod)
        node = self._packer.best(need)
        return None if node is None else (node, self._packer.slots(node, need))

    def on_bind(self, view: Any, pod: Any, node: int, gpus: Sequence[int]) -> None:
        """What the judge has placed is drawn."""
        self._packer.take(node, self._need(pod), gpus)

    def on_release(self, view: Any, pod: Any, node: int, gpus: Sequence[int]) -> None:
        """What the judge has ended is put back."""
        self._packer.give(node, self._need(pod), gpus)

    def _need(self, pod: Any) -> Need:
        need = self._needs.get(pod.shape)
        if need is None:
            kinds = frozenset(pod.models) or None
            need = self._needs[pod.shape] = Need(pod.num_gpu, pod.milli, pod.cpu, pod.mem, kinds)
        return need
