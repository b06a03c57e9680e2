"""A portal in this process with everybody's tokens, and a fingerprint of all its rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import structlog
from fastapi import FastAPI
from portal_world import SPEC, PortalWorld, join_body
from sqlalchemy import text
from starlette.testclient import TestClient
from wrong import Asked

from infra.database import Base
from infra.ground import Ground
from market.ids import new_id
from market.signing import NodeKey
from portal_api.identity.tokens import Role, TokenKind
from scheduler.supply import providers


class MarketAtHand:
    """tokens: by who has them; names: what paths may refer to, such as {job} and {foreign_job}."""

    def __init__(self, app: FastAPI, ground: Ground, client: TestClient) -> None:
        self.world, self.ground, self.client = PortalWorld(app, ground), ground, client
        organization_id, customer = self.world.organization()
        poor, stranger = self.world.organization(usdc=0)[1], self.world.organization()[1]
        with ground.database.transaction() as session:
            provider_id = providers.create(session, "provider", ground.clock.now()).id
        of_customer: dict[str, Any] = {"organization_id": organization_id}
        join, key = self.world.token(TokenKind.JOIN, provider_id=provider_id), NodeKey.generate()
        answer = client.post("/agent/v1/nodes", json=join_body(key, join), headers=_bearer(join))
        assert answer.status_code == 201, answer.text
        self.tokens = {
            "customer": customer,
            "poor": poor,
            "stranger": stranger,
            "viewer": self.world.token(TokenKind.CUSTOMER, **of_customer, role=Role.VIEWER),
            "expired": self.world.token(TokenKind.CUSTOMER, **of_customer, role=Role.OWNER, days=-1),
            "provider": self.world.token(TokenKind.PROVIDER, provider_id=provider_id),
            "operator": self.world.token(TokenKind.OPERATOR),
            "joiner": self.world.token(TokenKind.JOIN, provider_id=provider_id),
            "agent": answer.json()["token"],
            "revoked": self._revoked(customer),
        }
        poll = {"boot_id": "boot", "seen_version": 0, "wait_seconds": 0, "pool": "ready"}
        assert client.post("/agent/v1/poll", json=poll, headers=_bearer(self.tokens["agent"])).status_code == 200
        self.names = {
            "job": self._job(customer),
            "foreign_job": self._job(stranger),
            "no_job": new_id("job"),
            "node": answer.json()["node_id"],
        }

    def ask(self, asked: Asked) -> httpx.Response:
        """Send it, as whoever is to ask."""
        headers: dict[str, str] = {"Content-Type": "application/json"} if asked.body is not None else {}
        headers |= _bearer(self.tokens[asked.by]) if asked.by in self.tokens else {}
        # As bytes, because some of them are no ASCII.
        raw = [(name.encode(), value.encode("latin-1")) for name, value in (headers | dict(asked.headers)).items()]
        path = asked.path
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        return self.client.request(asked.method, path, content=asked.content, headers=raw)

    def rows(self) -> dict[str, str]:
        """A fingerprint of each table's rows."""
        with self.ground.database.read() as session:
            return {
                table.name: str(
                    session.scalar(
                        text(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{table.name}\" t")
                    )
                )
                for table in Base.metadata.sorted_tables
            }

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Nothing that happens inside leaves a row behind, or a fault of ours in the log."""
        before = self.rows()
        with structlog.testing.capture_logs() as logged:
            yield
        after = self.rows()
        changed = [name for name in before if before[name] != after[name]]
        assert changed == [], changed
        assert [entry for entry in logged if entry["log_level"] in ("error", "critical")] == []

    def _job(self, token: str) -> str:
        headers = {**_bearer(token), "Idempotency-Key": "first"}
        answer = self.client.post("/v1/jobs", json={"spec": SPEC}, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def _revoked(self, owner: str) -> str:
        made = self.client.post("/v1/tokens", json={"name": "t", "role": "owner"}, headers=_bearer(owner)).json()
        gone = self.client.delete(f"/v1/tokens/{made['token_id']}", headers=_bearer(owner))
        assert gone.status_code == 204
        return str(made["token"])


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
