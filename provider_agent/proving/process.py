"""The child process of a proof, seen from the agent: started under a Python that has the engine, spoken to by lines."""

import asyncio
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import market
import provider_agent

LINE_MAX_BYTES = 8_000_000
START_SECONDS_MAX = 60.0
TURN_SECONDS_MAX = 150.0
KILL_SECONDS_MAX = 10.0
NICENESS = 10
PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "TMPDIR", "LANG")

# Our two packages are named to the child one by one: under another Python nothing else of ours may be found.
_BEGIN = """
import importlib.util, os, sys
if int(sys.argv[2]):
    os.setpriority(os.PRIO_PROCESS, 0, int(sys.argv[2]))
for place in sys.argv[3:]:
    name = os.path.basename(place)
    spec = importlib.util.spec_from_file_location(name, place + "/__init__.py", submodule_search_locations=[place])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
from provider_agent.proving.child import main
sys.exit(main(sys.argv[1]))
"""


class ProofFailed(Exception):
    """The child could not begin, or not go on; says why."""


class ProofChild:
    """One child. device: a GPU's UUID, which is all of the GPUs that it sees, or `cpu`."""

    def __init__(self, device: str, python: Path | None = None) -> None:
        self._device, self._python = device, python or Path(sys.executable)
        self._process: asyncio.subprocess.Process | None = None
        self.engine = ""

    async def __aenter__(self) -> "ProofChild":
        """Raises ProofFailed unless there is an engine that computes exactly."""
        places = [str(Path(package.__file__ or "").parent) for package in (market, provider_agent)]
        on_cpu = self._device == "cpu"
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"CUDA_VISIBLE_DEVICES": "" if on_cpu else self._device, "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = await asyncio.create_subprocess_exec(
                str(self._python),
                "-c",
                _BEGIN,
                self._device,
                str(NICENESS if on_cpu else 0),
                *places,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                limit=LINE_MAX_BYTES,
                start_new_session=True,
            )
            self.engine = str((await self._read(START_SECONDS_MAX)).get("engine", ""))
        except OSError as error:
            raise ProofFailed(f"{self._python}: {error}") from None
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def turn(self, name: str, **fields: Any) -> dict[str, Any]:
        """What the child answers to a turn. Raises ProofFailed."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"turn": name, **fields}).encode() + b"\n")
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise ProofFailed("the prover ended") from None
        return await self._read(TURN_SECONDS_MAX)

    async def end(self) -> None:
        """Kill it, if it lives; its device is free when this returns."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS_MAX):
                await self._process.wait()

    async def _read(self, seconds_max: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds_max):
                told: dict[str, Any] = json.loads(await self._process.stdout.readline() or b"{}")
        except TimeoutError:
            raise ProofFailed(f"no answer within {seconds_max:.0f} s") from None
        except ValueError as error:
            raise ProofFailed(f"not understood: {error}") from None
        if not told or "unusable" in told or "failed" in told:
            raise ProofFailed(str(told.get("unusable") or told.get("failed") or "the prover ended"))
        return told
