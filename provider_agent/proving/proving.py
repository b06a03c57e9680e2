"""The agent's part in proofs: it asks what waits, and has a child compute it between the portal's turns."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import structlog
from pydantic import BaseModel

from market.errors import MarketError
from market.proof_api import (
    ProofAnswer,
    ProofCommit,
    ProofDraw,
    ProofIssue,
    ProofMemory,
    ProofMemoryDraw,
    ProofNetwork,
    ProofsAnswer,
    WaitingProof,
)
from provider_agent.proving.process import ProofChild, ProofFailed
from provider_agent.proving.speeds import NodeWide

ASK_SECONDS = 20.0
LEASE_SECONDS = 0.2
CPU = "cpu"
SIMULATED = "SIM-"

_Answer = TypeVar("_Answer", bound=BaseModel)
_log = structlog.get_logger(__name__)


class Portal(Protocol):
    """The two requests of the conversation that proofs need."""

    async def proofs(self) -> ProofsAnswer: ...

    async def proof_turn(
        self, answer: type[_Answer], challenge_id: str, turn: str, request: BaseModel | None = None
    ) -> _Answer: ...

    async def answer_proof(self, challenge_id: str, request: ProofAnswer) -> None: ...


class Proving:
    """leased: the devices that attempts hold now; their proofs are given up at once. pythons: where an engine may be
    found, the likeliest first. folder: where jobs run, and the disk is measured."""

    def __init__(
        self, portal: Portal, leased: Callable[[], frozenset[str]], pythons: Sequence[Path | None], folder: Path
    ) -> None:
        self._portal, self._leased, self._pythons = portal, leased, pythons
        self._node_wide = NodeWide(folder)
        self._running: dict[str, asyncio.Task[None]] = {}
        # Processors are shared by everything on this machine; a GPU is not.
        self._processors = asyncio.Semaphore(1)

    async def run(self) -> None:
        """Ask every while, for ever; the first time after a while, when the node has settled."""
        try:
            while True:
                await asyncio.sleep(ASK_SECONDS)
                await self.ask()
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def ask(self) -> None:
        """Begin what waits and is not under way."""
        for waiting in (await self._portal.proofs()).proofs:
            if waiting.challenge_id not in self._running:
                task = asyncio.create_task(self._one(waiting), name=f"proof {waiting.device}")
                self._running[waiting.challenge_id] = task
                task.add_done_callback(partial(self._forget, waiting.challenge_id))

    def _forget(self, challenge_id: str, _: asyncio.Task[None]) -> None:
        self._running.pop(challenge_id, None)

    async def settled(self) -> None:
        """Until nothing is under way."""
        while self._running:
            await asyncio.gather(*self._running.values())

    async def _one(self, waiting: WaitingProof) -> None:
        log = _log.bind(challenge_id=waiting.challenge_id, device=waiting.device)
        proof = asyncio.create_task(self._prove(waiting))
        lease = asyncio.create_task(self._until_leased(waiting.device))
        try:
            await asyncio.wait({proof, lease}, return_when=asyncio.FIRST_COMPLETED)
            if not proof.done():
                log.info("a job has this device; its proof is given up")
        finally:
            for task in (proof, lease):
                task.cancel()
            outcome, _ = await asyncio.gather(proof, lease, return_exceptions=True)
        if isinstance(outcome, ProofFailed):
            log.warning("this device cannot prove itself", why=str(outcome))
        elif isinstance(outcome, MarketError):
            log.warning("the proof was not taken", error=outcome.detail)
        elif isinstance(outcome, Exception):
            log.error("the proof stumbled", exc_info=outcome)
        elif outcome is None:
            log.info("proof handed in")

    async def _until_leased(self, device: str) -> None:
        while device not in self._leased():  # noqa: ASYNC110 - the registry has no event, and this one is rare
            await asyncio.sleep(LEASE_SECONDS)

    async def _prove(self, waiting: WaitingProof) -> None:
        on_cpu = waiting.device == CPU or waiting.device.startswith(SIMULATED)
        if not on_cpu:
            await self._prove_on(waiting.challenge_id, await self._child(waiting.device))
            return
        async with self._processors:
            await self._prove_on(waiting.challenge_id, await self._child(CPU))

    async def _child(self, device: str) -> ProofChild:
        """A child that has an engine, begun before the clock is. Raises ProofFailed with every reason."""
        reasons = []
        for python in self._pythons:
            try:
                return await ProofChild(device, python).__aenter__()
            except ProofFailed as error:
                reasons.append(str(error))
        raise ProofFailed("; ".join(reasons))

    async def _prove_on(self, challenge_id: str, child: ProofChild) -> None:
        try:
            issue = await self._issue(challenge_id)
            asked = issue.model_dump(exclude={"starts_in_ms"})
            ran = await child.turn("run", **asked)
            draw = await self._portal.proof_turn(ProofDraw, challenge_id, "commit", ProofCommit(**ran))
            remembered = await child.turn("remember", memory_nonce=draw.memory_nonce)
            memory = await self._portal.proof_turn(ProofMemoryDraw, challenge_id, "memory", ProofMemory(**remembered))
            shown = await child.turn("show", secret=draw.secret, memory_secret=memory.secret)
            copied = await child.turn("copy")
        finally:
            await child.end()
        told = await self._node_wide.measure(partial(self._portal.proof_turn, ProofNetwork, challenge_id, "network"))
        told = told.model_copy(update=copied["speeds"])
        counted = copied["multiprocessors"]
        answer = ProofAnswer(engine=child.engine, multiprocessors=counted, speeds=told, **shown)
        await self._portal.answer_proof(challenge_id, answer)

    async def _issue(self, challenge_id: str) -> ProofIssue:
        """The challenge with its nonce, asked for again at its barrier."""
        while True:
            issue = await self._portal.proof_turn(ProofIssue, challenge_id, "begin")
            if issue.nonce is not None:
                return issue
            await asyncio.sleep(max(issue.starts_in_ms, 1) / 1000)
