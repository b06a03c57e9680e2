"""Proofs: the agents' turns, stamped with this portal's time; what owners see and appeal, and operators lift."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from market.proof_api import (
    NETWORK_BYTES,
    ProofAnswer,
    ProofCommit,
    ProofDraw,
    ProofIssue,
    ProofMemory,
    ProofMemoryDraw,
    ProofNetwork,
    ProofsAnswer,
)
from portal_api.identity.principals import SignedInAgent, SignedInOperator, SignedInProvider
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.proofs import exchange, standings, views
from scheduler.proofs.views import DeviceProof
from scheduler.supply import providers

router = APIRouter(route_class=StrictRoute)
ChallengeId = Annotated[str, Path(max_length=40)]
NodeId = Annotated[str, Path(max_length=40)]
Device = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9-]+$")]
CIRCUIT_WATTS_MAX = 10_000_000


class MeasuredView(BaseModel):
    """by_market: measured by the market's clock; otherwise the node's own word."""

    kind: str
    value: int
    by_market: bool
    measured_at: datetime


class DeviceProofView(BaseModel):
    """state: unproven, verified, suspect, frozen or banned. score: 0 to 1000.

    findings: of the newest verdict, by check; shadow: the checks of it that only looked on.
    """

    node_id: str
    node_name: str
    device: str
    model: str | None
    state: str
    score: int
    failures: int
    misses: int
    suspicion: str
    proven_at: datetime | None
    appealed_at: datetime | None
    outcome: str | None
    findings: dict[str, str]
    shadow: list[str]
    engine: str
    measured: list[MeasuredView]


class DeviceProofList(BaseModel):
    items: list[DeviceProofView]


class ProofsOverview(BaseModel):
    """Of the last day: judged by outcome, missed, the verifier's CPU time. items: devices that are in trouble."""

    judged: dict[str, int]
    missed: int
    verifier_cpu_ms: int
    items: list[DeviceProofView]


class CircuitRequest(BaseModel):
    """circuit_watts: what the owner's GPUs may draw at once in a proof; null: all of them at full power."""

    model_config = ConfigDict(extra="forbid")

    circuit_watts: int | None = Field(ge=100, le=CIRCUIT_WATTS_MAX)


@router.get("/agent/v1/proofs", tags=["agent"])
async def list_proofs(portal: PortalDep, agent: SignedInAgent) -> ProofsAnswer:
    """The challenges that wait for this node."""
    now = portal.now()
    return ProofsAnswer(proofs=await portal.threads.read(lambda session: exchange.waiting(session, agent.node_id, now)))


@router.post("/agent/v1/proofs/{challenge_id}/begin", tags=["agent"])
async def begin_proof(portal: PortalDep, agent: SignedInAgent, challenge_id: ChallengeId) -> ProofIssue:
    """The nonce, from the challenge's barrier on; its clock starts."""
    now = portal.now()
    return await portal.threads.transact(lambda session: exchange.begin(session, agent.node_id, challenge_id, now))


@router.post("/agent/v1/proofs/{challenge_id}/commit", tags=["agent"])
async def commit_proof(
    portal: PortalDep, agent: SignedInAgent, challenge_id: ChallengeId, request: ProofCommit
) -> ProofDraw:
    """The roots of every round; its clock stops, and what is opened is drawn."""
    now = portal.now()
    return await portal.threads.transact(
        lambda session: exchange.commit(session, agent.node_id, challenge_id, request, now)
    )


@router.post("/agent/v1/proofs/{challenge_id}/memory", tags=["agent"])
async def remember_proof(
    portal: PortalDep, agent: SignedInAgent, challenge_id: ChallengeId, request: ProofMemory
) -> ProofMemoryDraw:
    """The roots over what was kept, under the memory nonce; what of them is opened is drawn."""
    now = portal.now()
    return await portal.threads.transact(
        lambda session: exchange.remember(session, agent.node_id, challenge_id, request, now)
    )


@router.post("/agent/v1/proofs/{challenge_id}/network", tags=["agent"])
async def probe_network(portal: PortalDep, agent: SignedInAgent, challenge_id: ChallengeId) -> ProofNetwork:
    """Where the node may time its way to storage and back, which the files of jobs take too."""
    now, storage = portal.now(), portal.base.storage
    key = await portal.threads.transact(lambda session: exchange.network_key(session, agent.node_id, challenge_id, now))
    return ProofNetwork(
        upload_url=storage.upload_url(key, size_bytes=NETWORK_BYTES, now=now),
        download_url=storage.download_url(key, now=now),
        size_bytes=NETWORK_BYTES,
    )


@router.post("/agent/v1/proofs/{challenge_id}/answer", status_code=204, tags=["agent"])
async def answer_proof(
    portal: PortalDep, agent: SignedInAgent, challenge_id: ChallengeId, request: ProofAnswer
) -> None:
    """The rows that were drawn, with their paths; the verdict comes later."""
    now = portal.now()
    await portal.threads.transact(lambda session: exchange.answer(session, agent.node_id, challenge_id, request, now))


@router.get("/provider/v1/proofs", tags=["provider"])
async def list_device_proofs(portal: PortalDep, provider: SignedInProvider) -> DeviceProofList:
    """Where each of the provider's devices stands, and what it was measured at."""
    return await portal.threads.read(
        lambda session: DeviceProofList(
            items=[_view(device) for device in views.of_provider(session, provider.provider_id)]
        )
    )


@router.post("/provider/v1/nodes/{node_id}/devices/{device}/appeal", status_code=204, tags=["provider"])
async def appeal_ban(portal: PortalDep, provider: SignedInProvider, node_id: NodeId, device: Device) -> None:
    """Have a banned device challenged again, once a day: three proofs in a row lift the ban."""
    now = portal.now()
    await portal.threads.transact(lambda session: standings.appeal(session, provider.provider_id, node_id, device, now))


@router.put("/provider/v1/circuit", tags=["provider"])
async def put_circuit(portal: PortalDep, provider: SignedInProvider, request: CircuitRequest) -> CircuitRequest:
    """What the provider's GPUs may draw at once; proofs are staggered in groups under it."""
    await portal.threads.transact(
        lambda session: providers.set_circuit(session, provider.provider_id, request.circuit_watts)
    )
    return request


@router.get("/ops/v1/proofs", tags=["operator"])
async def get_proofs(portal: PortalDep, _: SignedInOperator) -> ProofsOverview:
    """What the verifier did in the last day, and every device that is in trouble."""
    now = portal.now()

    def read(session: Session) -> ProofsOverview:
        spent = views.costs(session, now)
        return ProofsOverview(
            judged=spent.judged,
            missed=spent.missed,
            verifier_cpu_ms=spent.verifier_cpu_ms,
            items=[_view(device) for device in views.in_trouble(session)],
        )

    return await portal.threads.read(read)


@router.post("/ops/v1/nodes/{node_id}/devices/{device}/lift", status_code=204, tags=["operator"])
async def lift_ban(portal: PortalDep, _: SignedInOperator, node_id: NodeId, device: Device) -> None:
    """Let a device stand as if it had never been challenged; it is challenged anew."""
    now = portal.now()
    await portal.threads.transact(lambda session: standings.lift(session, node_id, device, now))


def _view(found: DeviceProof) -> DeviceProofView:
    standing, last = found.standing, found.last
    return DeviceProofView(
        node_id=standing.node_id,
        node_name=found.node_name,
        device=standing.device,
        model=found.model,
        state=standing.state.value,
        score=standing.score,
        failures=standing.failures,
        misses=standing.misses,
        suspicion=standing.suspicion,
        proven_at=standing.proven_at,
        appealed_at=standing.appealed_at,
        outcome=last.outcome if last is not None else None,
        findings=(last.findings or {}) if last is not None else {},
        shadow=(last.shadow or []) if last is not None else [],
        engine=last.engine if last is not None else "",
        measured=[
            MeasuredView(kind=row.kind, value=row.value, by_market=row.by_market, measured_at=row.measured_at)
            for row in found.benchmarks
        ],
    )
