"""A market behind a portal: everybody's clients, and the steps that other processes would take."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import redis
from fastapi import FastAPI

from billing.charging import capture
from billing.metering import usage
from billing.metering.parcels import SignedReport
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from infra.ground import Ground
from infra.outbox.delivery import by_subscriber, claim, deliver
from infra.secrets import SecretBox
from market.agent_api import SIGNATURE_HEADER, AttemptStatus, JoinRequest, Report
from market.canonical import canonical_json
from market.clock import ManualClock
from market.customer_api import IDEMPOTENCY_HEADER
from market.ids import new_id
from market.reading_runs import runs_of
from market.readings import GENESIS, Reading
from market.resources import Inventory
from market.signing import JOIN_TAG, REPORT_TAG, NodeKey
from portal_api.identity import tokens
from portal_api.identity.bootstrap import create_organization
from portal_api.identity.tokens import Role, TokenKind
from portal_api.portal import Portal
from scheduler.proofs.judgement import ProofState
from scheduler.rounds import placing
from scheduler.supply import providers
from scheduler.tables import ProofChallenge, ProofStanding
from scheduler.tables.proofs import Cause, ChallengeState

GIB = 2**30
SPEC: dict[str, Any] = {
    "run": "echo hello",
    "resources": {"cpu": 1, "memory": "1GB", "disk": "1GB"},
    "max_duration": "10m",
}
INVENTORY: dict[str, Any] = {
    "hostname": "host",
    "cpu_milli": 8000,
    "memory_bytes": 16 * GIB,
    "disk_bytes": 100 * GIB,
    "sandbox": "bubblewrap",
    "agent_version": "1",
}


class Caller:
    """Somebody with a token (or none), and a client that sends it."""

    def __init__(self, app: FastAPI, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self.token = token
        self.http = httpx.AsyncClient(transport=transport, base_url="http://portal.test", headers=headers, timeout=30)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, **more)

    async def post(self, path: str, body: Any = None, *, key: str | None = None) -> httpx.Response:
        return await self.send("POST", path, body, {IDEMPOTENCY_HEADER: key} if key is not None else {})

    async def put(self, path: str, body: Any = None) -> httpx.Response:
        return await self.send("PUT", path, body, {})

    async def send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        """Escaped JSON, so that a test can send any character at all."""
        content = json.dumps(body) if body is not None else None
        headers = {**headers, **({"Content-Type": "application/json"} if body is not None else {})}
        return await self.http.request(method, path, content=content, headers=headers)

    async def submit(self, *, key: str | None = None, **spec: Any) -> httpx.Response:
        return await self.post("/v1/jobs", {"spec": {**SPEC, **spec}}, key=key or new_id("req"))


class Customer(Caller):
    def __init__(self, app: FastAPI, token: str, organization_id: str) -> None:
        super().__init__(app, token)
        self.organization_id = organization_id


class Node(Caller):
    """A joined machine."""

    def __init__(self, app: FastAPI, token: str, node_id: str, key: NodeKey) -> None:
        super().__init__(app, token)
        self.node_id, self.key = node_id, key

    async def poll(
        self,
        *,
        seen: int = 0,
        wait: float = 0,
        pool: str = "ready",
        streams: Sequence[str] = (),
        known: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        body = {"boot_id": "boot", "seen_version": seen, "wait_seconds": wait, "pool": pool, "streams": list(streams)}
        body["known"] = known if known is None else list(known)
        answer = await self.post("/agent/v1/poll", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def report(self, *statuses: AttemptStatus, readings: list[Reading] | None = None) -> httpx.Response:
        report = Report(node_id=self.node_id, sent_at_ms=0, statuses=list(statuses), runs=list(runs_of(readings or [])))
        body = canonical_json(report.model_dump(mode="json"))
        return await self.send_report(body, self.key.sign(REPORT_TAG, body))

    async def send_report(self, body: bytes, signature: str) -> httpx.Response:
        return await self.http.post("/agent/v1/reports", content=body, headers={SIGNATURE_HEADER: signature})

    async def log(self, attempt_id: str, offset: int, data: bytes) -> int:
        answer = await self.http.put(f"/agent/v1/attempts/{attempt_id}/log?offset={offset}", content=data)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["next_offset"])


class PortalWorld:
    """The portal and its people. Everything that is made here is committed."""

    def __init__(self, app: FastAPI, base: Ground) -> None:
        self.app, self.base = app, base
        self.portal: Portal = app.state.portal
        self.clock = base.clock
        assert isinstance(self.clock, ManualClock)
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> "PortalWorld":
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    async def keep(self, caller: Any) -> Any:
        await self._clients.enter_async_context(caller.http)
        return caller

    async def anonymous(self) -> Caller:
        return await self.keep(Caller(self.app, None))

    def organization(self, usdc: int = 100, role: Role = Role.OWNER) -> tuple[str, str]:
        """A new tenant with that much to spend: (organization id, token)."""
        with self.base.database.transaction() as session:
            organization = create_organization(session, "acme", self.clock.now())
            issued = tokens.issue(
                session, TokenKind.CUSTOMER, self.clock.now(), name="t", organization_id=organization.id, role=role
            )
            if usdc:
                deposit = deposits.request(session, organization.id, usdc * 1_000_000, self.clock.now())
                arrived = Arrival(f"signature of {deposit.deposit_id}", 0, deposit.amount_microusd)
                deposits.credit(session, deposit.deposit_id, [arrived], self.clock.now())
        return organization.id, issued.text

    async def customer(self, *, usdc: int = 100) -> Customer:
        organization_id, token = self.organization(usdc)
        return await self.keep(Customer(self.app, token, organization_id))

    async def member(self, customer: Customer, role: Role, *, days: int = 1) -> Customer:
        """A further token of the same organization."""
        text = self.token(TokenKind.CUSTOMER, organization_id=customer.organization_id, role=role, days=days)
        return await self.keep(Customer(self.app, text, customer.organization_id))

    def token(self, kind: TokenKind, *, days: int = 1, **owner: Any) -> str:
        now = self.clock.now()
        with self.base.database.transaction() as session:
            return tokens.issue(session, kind, now, name="t", expires_at=now + timedelta(days=days), **owner).text

    async def provider(self) -> tuple[str, Caller]:
        with self.base.database.transaction() as session:
            provider_id = providers.create(session, "provider", self.clock.now()).id
        return provider_id, await self.keep(Caller(self.app, self.token(TokenKind.PROVIDER, provider_id=provider_id)))

    async def operator(self) -> Caller:
        return await self.keep(Caller(self.app, self.token(TokenKind.OPERATOR)))

    async def node(self, provider_id: str | None = None, **inventory: Any) -> Node:
        """A machine that joined and whose pool is ready."""
        provider_id = provider_id or (await self.provider())[0]
        key, join_token = NodeKey.generate(), self.token(TokenKind.JOIN, provider_id=provider_id)
        joiner = await self.keep(Caller(self.app, join_token))
        answer = await joiner.post("/agent/v1/nodes", join_body(key, join_token, **inventory))
        assert answer.status_code == 201, answer.text
        node = await self.keep(Node(self.app, answer.json()["token"], answer.json()["node_id"], key))
        await node.poll()
        return node

    async def placed(self, customer: Customer, **spec: Any) -> tuple[str, str]:
        """A job with a lease: (job id, attempt id)."""
        answer = await customer.submit(**spec)
        assert answer.status_code == 201, answer.text
        job_id = answer.json()["job_id"]
        self.place()
        job = (await customer.get(f"/v1/jobs/{job_id}")).json()
        return job_id, job["attempts"][-1]["attempt_id"]

    def challenged(self, node_id: str, provider_id: str) -> str:
        """A challenge that waits for the node's CPUs, which are banned; its id."""
        now = self.clock.now()
        with self.base.database.transaction() as session:
            row = ProofChallenge(
                id=new_id("prf"),
                node_id=node_id,
                provider_id=provider_id,
                device="cpu",
                cause=Cause.JOIN,
                barrier_id="alone",
                state=ChallengeState.WAITING,
                size=64,
                rounds=4,
                kept=2,
                created_at=now,
                starts_at=now,
                due_at=now + timedelta(minutes=3),
            )
            banned = ProofStanding(node_id=node_id, device="cpu", state=ProofState.BANNED, cause=Cause.JOIN)
            session.add_all((row, banned))
        return row.id

    async def exited(self, node: Node, attempt_id: str, exit_code: int = 0) -> None:
        status = AttemptStatus(attempt_id=attempt_id, state="exited", exit_code=exit_code)
        answer = await node.report(status)
        assert answer.status_code == 200, answer.text

    async def watched(self, topic: str, watches: int = 1) -> None:
        """Until so many in the portal wait for that topic."""
        for _ in range(2000):
            if len(self.portal.topics._watches.get(topic, ())) >= watches:
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"nobody waits for {topic}")

    def place(self) -> None:
        """What the scheduler's worker does."""
        placing.run(self.base.database, self.clock, limit=100)

    def deliver(self) -> None:
        """What the relay and the workers do, until nothing is due."""
        for _ in range(20):
            with self.base.database.transaction() as session:
                due = claim(session, self.clock.now() + timedelta(seconds=30))
            if not due:
                return
            for subscriber, message_ids in by_subscriber(due).items():
                deliver(self.base.database, self.clock, subscriber, message_ids)

    def bus_length(self) -> int:
        with self._bus() as client:
            return int(client.xlen(self.base.settings.key("usage")))

    def consume(self) -> None:
        """What the usage consumer does with what waits on the bus."""
        with self._bus() as client:
            entries = client.xrange(self.base.settings.key("usage"))
            client.delete(self.base.settings.key("usage"))
        reports = [SignedReport(fields[b"node"].decode(), self.clock.now(), fields[b"body"]) for _, fields in entries]
        with self.base.database.transaction() as session:
            usage.merge(session, reports, self.clock.now())

    def _bus(self) -> Any:
        return redis.Redis.from_url(self.base.settings.usage_bus_url.get_secret_value())

    def settle(self) -> None:
        """Everything that ends the bill of attempts whose final readings never came."""
        self.deliver()
        self.clock.advance(timedelta(seconds=self.base.settings.final_reading_wait_seconds + 1))
        with self.base.database.transaction() as session:
            capture.capture_due(session, self.clock.now())
        self.deliver()


def market_variables(folder: Path, postgres_url: str, valkey_url: str) -> dict[str, str]:
    """The environment of a whole market's processes; its secrets lie in the folder."""
    from solders.keypair import Keypair

    key, treasury = folder / "secret.key", folder / "treasury.json"
    key.write_text(SecretBox.generate_key())
    treasury.write_text(Keypair().to_json())
    for file in (key, treasury):
        file.chmod(0o600)
    return {
        "GRIDBAY_DATABASE_URL": postgres_url,
        "GRIDBAY_CACHE_URL": valkey_url,
        "GRIDBAY_USAGE_BUS_URL": valkey_url,
        "GRIDBAY_STORAGE_URL": f"file://{folder / 'storage'}",
        "GRIDBAY_STORAGE_PUBLIC_URL": "http://storage.test",
        "GRIDBAY_SECRET_KEY_FILE": str(key),
        "GRIDBAY_TREASURY_KEYPAIR": str(treasury),
        "GRIDBAY_LONG_POLL_SECONDS": "3",
    }


def join_body(key: NodeKey, join_token: str, **inventory: Any) -> Mapping[str, Any]:
    request = JoinRequest(
        public_key=key.public_hex,
        possession=key.sign(JOIN_TAG, join_token.encode()),
        name="node",
        inventory=Inventory.model_validate({**INVENTORY, **inventory}),
    )
    return request.model_dump(mode="json")


def readings_of(lease_id: str, run_ms: int, *, final: bool = True) -> list[Reading]:
    stream_id = f"stream-{lease_id[-12:]}"
    return [
        Reading(
            lease_id=lease_id,
            stream_id=stream_id,
            sequence=1,
            run_ms=run_ms,
            taken_at_ms=0,
            final=final,
            previous_hash=GENESIS,
        )
    ]
