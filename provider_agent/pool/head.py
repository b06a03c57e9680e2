"""Owns the start of a pool's head: GCS and raylet of one node, as light as Ray gets, reachable by nobody else.

One node for now. A further node of the provider would run the same start with --address instead of --head, which needs
addresses other nodes can reach in place of the closed network namespace.
"""

import asyncio
import json
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from provider_agent.durable import write_atomically
from provider_agent.pool import enter, processes, runner
from provider_agent.pool.wire import GPU_RESOURCE_PREFIX

START_SECONDS_MAX = 90.0
_WORDS_MAX = 4000
_PORT = 6379  # in a network namespace of its own every port is free
# The head starts them whatever it is told; nobody here asks them anything, and they take 160 MB.
_UNUSED = ("dashboard/dashboard.py", "ray.util.client.server")
_PACKAGES = Path(__file__).parents[2]
_HEALTH_CHECK_MS = "1000"


class PoolUnavailable(Exception):
    """The pool cannot serve now; the message says why. Minders run on without it."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """What this node puts into its pool. folder: the agent's own, for token and logs; isolate: close the network."""

    folder: Path
    cpus: float
    memory_bytes: int
    gpu_uuids: tuple[str, ...] = ()
    object_store_bytes: int = 78_643_200  # Ray's least; nothing of ours goes through it
    isolate: bool = True

    @property
    def resources(self) -> dict[str, float]:
        """All there is in Ray's books, by Ray's names; it counts whole CPUs."""
        total = {"CPU": float(max(1, round(self.cpus))), "memory": float(self.memory_bytes)}
        return (
            total | {"GPU": float(len(self.gpu_uuids))} | {GPU_RESOURCE_PREFIX + uuid: 1.0 for uuid in self.gpu_uuids}
        )


class HeadRecord(BaseModel):
    """What a next agent must know to end what this one left running."""

    mark: str
    scratch: Path


@dataclass(frozen=True, slots=True)
class Head:
    """A running head. entrance: how a command gets to where its ports are."""

    mark: str
    scratch: Path
    address: str
    entrance: tuple[str, ...]
    watch: processes.Watch

    @property
    def child_socket(self) -> Path:
        return self.scratch / "child.sock"

    @property
    def runner_socket(self) -> Path:
        return self.scratch / runner.SOCKET


async def start_head(config: PoolConfig) -> Head:
    """Start GCS and raylet, and return once Ray says they serve; PoolUnavailable with Ray's words otherwise.

    What an earlier head on the folder left running is ended first, and so is what a failed start left.
    """
    config.folder.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(end_leftovers, config.folder)
    try:
        return await _start(config)
    except BaseException:
        # Not awaited: a cancelled start must not leave Ray behind either.
        end_leftovers(config.folder)
        raise


async def _start(config: PoolConfig) -> Head:
    # Ray puts unix sockets below its folder, and their whole path must fit into 107 bytes: a short one of its own.
    scratch = Path(tempfile.mkdtemp(prefix="gridbay-", dir="/tmp"))
    mark = secrets.token_hex(16)
    write_atomically(_record_path(config.folder), HeadRecord(mark=mark, scratch=scratch).model_dump_json().encode())
    write_atomically(token_path(config.folder), secrets.token_hex(32).encode())
    port = _PORT if config.isolate else _free_port()
    command = [*_ray_start(config, scratch, port)]
    if config.isolate:
        command = [*_isolated("new"), *command]
    environment = ray_environment(config.folder, scratch, mark)
    log = config.folder / "head.log"
    await _run(command, environment, log)
    # Ray opens it to everybody; the sockets in it are asked for launches.
    await asyncio.to_thread(scratch.chmod, 0o700)
    found = await asyncio.to_thread(processes.find_marked, mark)
    for process in found:
        if any(name in process.command for name in _UNUSED):
            processes.kill_one(process)
    core = [process for process in found if process.name in ("gcs_server", "raylet")]
    if len(core) != 2:
        raise PoolUnavailable(f"ray started only {[process.name for process in core]}; see {log}")
    entrance = tuple(_isolated("join", core[0].shown_as)) if config.isolate else ()
    return Head(mark, scratch, f"127.0.0.1:{port}", entrance, processes.Watch(core))


def end_leftovers(folder: Path) -> int:
    """End what an earlier pool on this folder left running, and its scratch; how many processes that were."""
    path = _record_path(folder)
    try:
        record = HeadRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return 0
    killed = processes.kill_marked(record.mark)
    shutil.rmtree(record.scratch, ignore_errors=True)
    path.unlink(missing_ok=True)
    return killed


def ray_environment(folder: Path, scratch: Path, mark: str) -> dict[str, str]:
    """All that Ray's processes get: nothing of the agent's own environment."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(_PACKAGES),
        processes.MARK: mark,
        # Else Ray's agents write their process titles over the environment, and the mark with it.
        "SPT_NOENV": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_path(folder)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # True would make Ray kill minders when the worker that started them ends.
        "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper": "false",
        # The GCS should know soon what was released; see SETTLE_SECONDS of the child.
        "RAY_raylet_report_resources_period_milliseconds": "20",
        "RAY_ROTATION_MAX_BYTES": "4194304",
        "RAY_ROTATION_BACKUP_COUNT": "1",
        "RAY_health_check_initial_delay_ms": _HEALTH_CHECK_MS,
        "RAY_health_check_period_ms": _HEALTH_CHECK_MS,
        "RAY_health_check_timeout_ms": _HEALTH_CHECK_MS,
        "RAY_health_check_failure_threshold": "3",
    }


def token_path(folder: Path) -> Path:
    return folder / "ray.token"


def last_words(log: Path) -> str:
    """The end of a log, for an error's message."""
    return log.read_text(errors="replace")[-_WORDS_MAX:].strip()


def _record_path(folder: Path) -> Path:
    return folder / "head.json"


def _ray_start(config: PoolConfig, scratch: Path, port: int) -> Sequence[str]:
    gpus = {GPU_RESOURCE_PREFIX + uuid: 1 for uuid in config.gpu_uuids}
    arguments = {
        "--node-ip-address": "127.0.0.1",
        "--port": port,
        "--num-cpus": round(config.resources["CPU"]),
        "--num-gpus": len(config.gpu_uuids),
        "--memory": config.memory_bytes,
        "--object-store-memory": config.object_store_bytes,
        "--resources": json.dumps(gpus),
        "--temp-dir": scratch,
        "--include-dashboard": "false",
        "--include-log-monitor": "false",
    }
    options = [f"{name}={value}" for name, value in arguments.items()]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--no-monitor", *options]


def _isolated(*how: str) -> list[str]:
    return [sys.executable, "-I", "-S", enter.__file__, *how]


async def _run(command: Sequence[str], environment: dict[str, str], log: Path) -> None:
    """Run to the end; `ray start` leaves its processes behind as orphans, which is what is wanted."""
    with log.open("wb") as output:
        starting = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
    try:
        status = await asyncio.wait_for(starting.wait(), START_SECONDS_MAX)
    except TimeoutError:
        status = None
    finally:
        if starting.returncode is None:
            with suppress(ProcessLookupError):
                starting.kill()
            await starting.wait()
    if status != 0:
        said = f"status {status}" if status is not None else f"nothing within {START_SECONDS_MAX:.0f} s"
        raise PoolUnavailable(f"`ray start` answered {said}: {last_words(log)}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
