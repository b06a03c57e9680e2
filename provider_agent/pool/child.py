"""The pool child: the only process of an agent that imports ray; a driver that reserves, releases and reads the books.

Run as `python -m provider_agent.pool.child SOCKET ADDRESS`. It ends when its stdin closes: with its agent.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import ray.util
from pydantic import TypeAdapter, ValidationError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from provider_agent.pool.holdings import Holdings
from provider_agent.pool.runner import ACTOR_PREFIX, LAUNCHES_AT_ONCE_MAX, Runner
from provider_agent.pool.wire import (
    LINE_BYTES_MAX,
    Ask,
    Books,
    Refusal,
    Release,
    Reply,
    Request,
    Reserve,
)

NAMESPACE = "gridbay"
QUICK_CALLS_AT_ONCE_MAX = 4
"""Threads for what waits for nothing: a release must not queue behind the reservations that wait for it."""
LAUNCH_SECONDS_MAX = 30.0
LAST_LOOK_SECONDS = 1.0
_REQUESTS: TypeAdapter[Request] = TypeAdapter(Request)


class Refused(Exception):
    """The answer is no, and why."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.refusal = refusal


def reserve(request: Reserve) -> dict[str, Any]:
    """Hold the resources under their name (again or anew), then start the minder where they are."""
    name = request.reservation.name
    until = time.monotonic() + request.seconds_max
    # A name that nothing is held under is new: Ray need not be asked for it.
    fresh = request.attempt_dir is not None and not _holdings.holds(name)
    group = None if fresh else _find_group(name)
    if group is None:
        _holdings.take(name, request.reservation.resources(), request.seconds_max)
        group = ray.util.placement_group(
            [request.reservation.resources()], strategy="STRICT_PACK", name=name, lifetime="detached"
        )
        _groups[name] = group
    # An infeasible group pends for ever without a word: the wait is what notices.
    if not group.wait(timeout_seconds=max(LAST_LOOK_SECONDS, until - time.monotonic())):
        _remove(name, group)
        wanted = request.reservation.resources()
        raise Refused(Refusal.NO_CAPACITY, f"{wanted} was not free within {request.seconds_max:.1f} s")
    if request.attempt_dir is None:
        return {"launched": False}
    try:
        launched = _launch(group, request.attempt_dir)
    except Refused:
        _remove(name, group)
        raise
    return {"launched": launched}


def release(request: Release) -> dict[str, Any]:
    group = _find_group(request.name)
    if group is not None:
        _remove(request.name, group)
    return {"released": group is not None}


def books() -> dict[str, Any]:
    rows = ray.util.placement_group_table().values()
    named = {row["name"]: row for row in rows if row["name"] and row["state"] in ("CREATED", "RESCHEDULING", "PENDING")}
    held = {name: row for name, row in named.items() if row["state"] == "CREATED"}
    return Books(
        reserved={name: row["bundles"][0] for name, row in held.items()},
        pending=tuple(sorted(named.keys() - held.keys())),
        free=_plain_names(ray.available_resources()),
        total=_plain_names(ray.cluster_resources()),
    ).model_dump()


def health() -> dict[str, Any]:
    alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    if not alive:
        raise Refused(Refusal.UNAVAILABLE, "no node of the pool is alive")
    return {"nodes": alive}


def _launch(group: PlacementGroup, attempt_dir: str) -> bool:
    runner = runner_of(_node_of(group))
    try:
        return bool(ray.get(runner.launch.remote(attempt_dir), timeout=LAUNCH_SECONDS_MAX))
    except ray.exceptions.RayTaskError as error:
        raise Refused(Refusal.LAUNCH_FAILED, str(error.cause)) from None


def _node_of(group: PlacementGroup) -> str:
    """Ray is asked only where there is a choice."""
    if len(_nodes) == 1:
        return _nodes[0]
    (node_id,) = set(ray.util.placement_group_table(group)["bundles_to_node_id"].values())
    return str(node_id)


@cache
def runner_of(node_id: str) -> Any:
    """The node's runner: the one there is, or a new one; Ray starts it again whenever it dies."""
    strategy = NodeAffinitySchedulingStrategy(node_id=node_id, soft=False)
    return (
        ray.remote(Runner)
        .options(
            name=ACTOR_PREFIX + node_id,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=3,  # a launch that was cut off is found started and adopted
            max_concurrency=LAUNCHES_AT_ONCE_MAX,
            scheduling_strategy=strategy,
        )
        .remote()
    )


_holdings = Holdings()
_groups: dict[str, PlacementGroup] = {}
"""Those that this process made, by name; an earlier one's are looked up."""
_nodes: list[str] = []


def _remove(name: str, group: PlacementGroup) -> None:
    ray.util.remove_placement_group(group)
    _groups.pop(name, None)
    _holdings.give_back(name)


def _find_group(name: str) -> PlacementGroup | None:
    if (known := _groups.get(name)) is not None:
        return known
    try:
        return ray.util.get_placement_group(name)
    except ValueError:
        return None


def _plain_names(resources: dict[str, float]) -> dict[str, float]:
    """Without the names Ray derives for each group and node."""
    return {name: amount for name, amount in resources.items() if "_group_" not in name and ":" not in name}


def _understood(line: bytes) -> Request | Reply:
    """The request, or the reply to what is none."""
    try:
        return _REQUESTS.validate_json(line)
    except ValidationError as error:
        return Reply(refusal=Refusal.BAD_REQUEST, detail=str(error))


def _answer(request: Request | Reply) -> Reply:
    work: Callable[[], dict[str, Any]]
    match request:
        case Reply():
            return request
        case Reserve():
            work = partial(reserve, request)
        case Release():
            work = partial(release, request)
        case Ask(op="books"):
            work = books
        case _:
            work = health
    try:
        return Reply(result=work())
    except Refused as error:
        return Reply(refusal=error.refusal, detail=str(error))
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        return Reply(refusal=Refusal.UNAVAILABLE, detail=f"{type(error).__name__}: {error}"[:2000])


async def _serve(socket_path: Path) -> None:
    loop = asyncio.get_running_loop()
    reserving, quick = ThreadPoolExecutor(LAUNCHES_AT_ONCE_MAX), ThreadPoolExecutor(QUICK_CALLS_AT_ONCE_MAX)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                request = _understood(line)
                threads = reserving if isinstance(request, Reserve) else quick
                reply = await loop.run_in_executor(threads, _answer, request)
                writer.write(reply.model_dump_json().encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return  # the agent went away, or sent a line past the bound
        finally:
            writer.close()

    server = await asyncio.start_unix_server(talk, socket_path, limit=LINE_BYTES_MAX)
    async with server:
        await loop.run_in_executor(None, sys.stdin.buffer.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path)
    parser.add_argument("address")
    arguments = parser.parse_args()
    ray.init(
        address=arguments.address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
        _node_ip_address=arguments.address.rpartition(":")[0],
    )
    _holdings.begin(ray.cluster_resources(), Books.model_validate(books()).reserved)
    # The first launch should not wait for the runner's process: have it started now.
    _nodes.extend(node["NodeID"] for node in ray.nodes())
    for node_id in _nodes:
        runner_of(node_id)
    arguments.socket.unlink(missing_ok=True)  # of a child that was killed
    asyncio.run(_serve(arguments.socket))
    # ray.shutdown can wait long for a head that is gone; the books live in the head, nothing is lost here.
    os._exit(0)


if __name__ == "__main__":
    main()
