"""The judge of GPU placement: a program that is not ours, replaying real traces (its README says what it is).

It is found through GRIDBAY_JUDGE (../shared/judge without it). It keeps its own books: an impossible placement, or a
refusal while there is room, ends the run. Needs numpy alone.
"""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("GRIDBAY_JUDGE", Path(__file__).parents[2] / "shared" / "judge"))
DATA = FOLDER / "data"
DEFAULT = "default"

Run = dict[str, Any]


def load() -> ModuleType:
    """The judge's module."""
    path = FOLDER / "gpu_trace_replay.py"
    spec = importlib.util.spec_from_file_location("gpu_trace_replay", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"no judge at {path}: name its folder in GRIDBAY_JUDGE")
    judge = importlib.util.module_from_spec(spec)
    # Its dataclasses look themselves up there.
    sys.modules[spec.name] = judge
    spec.loader.exec_module(judge)
    return judge


def traces(data: Path = DATA) -> list[str]:
    """Those there is data for."""
    return sorted(path.stem.removeprefix("openb_pod_list_") for path in data.glob("openb_pod_list_*.csv"))


def cluster(judge: ModuleType, trace: str = DEFAULT, scale: int = 1, data: Path = DATA) -> tuple[Any, list[Any]]:
    """The trace's nodes, so many times over, and its pods."""
    nodes = judge.load_nodes(data / "openb_node_list_gpu_node.csv")
    pods = judge.load_pods(data / f"openb_pod_list_{trace}.csv", nodes.model_names)
    if scale > 1:
        columns = (nodes.cpu_cap, nodes.mem_cap, nodes.gpu_count, nodes.model)
        nodes = judge.View(*(np.tile(column, scale) for column in columns), nodes.model_names)
    return nodes, pods


def replay(
    judge: ModuleType, policy: Callable[[], object], seed: int, trace: str = DEFAULT, scale: int = 1, data: Path = DATA
) -> Run:
    """The judge's figures of one run up to 130 % of the cluster's GPUs asked for."""
    nodes, pods = cluster(judge, trace, scale, data)
    found: Run = judge.run_inflate(nodes, pods, policy(), seed)
    return found
