"""Who may call what: every operation of the OpenAPI document, by everybody; one that is not listed here fails.

A thing that belongs to somebody else looks like one that never was.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest
from portal_world import INVENTORY, SPEC, Caller, Customer, Node, PortalWorld, join_body

from market.canonical import canonical_json
from market.ids import new_id
from market.signing import REPORT_TAG, NodeKey
from portal_api.identity import tokens
from portal_api.identity.tokens import Role, TokenKind
from scheduler.rounds import records

pytestmark = pytest.mark.anyio

CUSTOMERS = frozenset({"owner", "member", "viewer", "stranger"})
WRITERS = frozenset({"owner", "member", "stranger"})
OWNERS = frozenset({"owner", "stranger"})
PROVIDERS = frozenset({"provider", "other_provider"})
AGENTS = frozenset({"agent", "other_agent"})
EVERYBODY = (
    frozenset({"anonymous", "expired", "revoked", "mistyped", "joiner", "operator"}) | CUSTOMERS | PROVIDERS | AGENTS
)
FOREIGN = frozenset({"stranger", "other_provider", "other_agent"})


@dataclass(frozen=True)
class Right:
    """may: roles that are let in. owned: the path names something of `owner`, `provider` or `agent`."""

    may: frozenset[str]
    body: Any = None
    owned: bool = False
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


ABOUT_THE_MARKET = (frozenset({"operator"}), CUSTOMERS, EVERYBODY)
SPEND = {"Idempotency-Key": "isolation"}
WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"
RIGHTS: dict[str, Right] = {
    "get_health": Right(EVERYBODY),
    "get_published_epoch": Right(EVERYBODY),
    "list_published_lines": Right(EVERYBODY),
    "get_identity": Right(CUSTOMERS),
    "list_tokens": Right(OWNERS),
    "create_token": Right(OWNERS, {"name": "ci", "role": "viewer"}),
    "revoke_token": Right(OWNERS, owned=True),
    "put_secret": Right(WRITERS, {"value": "s3cret"}),
    "delete_secret": Right(WRITERS, owned=True),
    "list_secrets": Right(CUSTOMERS),
    "search_offers": Right(CUSTOMERS),
    "submit_job": Right(WRITERS, {"spec": SPEC}, headers=SPEND),
    "list_jobs": Right(CUSTOMERS),
    "plan_job": Right(CUSTOMERS, {"spec": SPEC}),
    "get_job": Right(CUSTOMERS, owned=True),
    "explain_job": Right(CUSTOMERS, owned=True),
    "stop_job": Right(WRITERS, owned=True),
    "list_outputs": Right(CUSTOMERS, owned=True),
    "get_cost": Right(CUSTOMERS, owned=True),
    "get_receipt": Right(CUSTOMERS, owned=True),
    "follow_logs": Right(CUSTOMERS, owned=True),
    "follow_states": Right(CUSTOMERS, owned=True),
    "declare_workdir": Right(WRITERS, {"sha256": "a" * 64, "size_bytes": 10}),
    "get_balance": Right(CUSTOMERS),
    "list_budgets": Right(CUSTOMERS),
    "put_budget": Right(OWNERS, {"period": "month", "limit_microusd": 10**12}),
    "delete_budget": Right(OWNERS, owned=True),
    "list_money_events": Right(CUSTOMERS),
    "get_money_watch": Right(CUSTOMERS),
    "put_money_watch": Right(OWNERS, {"low_microusd": 1_000_000, "forecast_hours": 24}),
    "request_deposit": Right(OWNERS, {"amount_microusd": 1_000_000}, headers=SPEND),
    "get_deposit": Right(CUSTOMERS, owned=True),
    "request_withdrawal": Right(OWNERS, {"amount_microusd": 20_000, "wallet_address": WALLET}, headers=SPEND),
    "list_withdrawals": Right(CUSTOMERS),
    "get_withdrawal": Right(CUSTOMERS, owned=True),
    "cancel_withdrawal": Right(OWNERS, owned=True),
    "get_allowance": Right(CUSTOMERS),
    "put_allowance": Right(OWNERS, {"keep_microusd": 1_000_000}),
    "offer_approval": Right(OWNERS, {"signature": "1" * 64}),
    "end_allowance": Right(OWNERS),
    "list_pulls": Right(CUSTOMERS),
    "list_nodes": Right(PROVIDERS),
    "list_minutes": Right(PROVIDERS, owned=True),
    "create_join_token": Right(PROVIDERS, {"name": "x"}),
    "put_wallet": Right(PROVIDERS, {"wallet_address": None}),
    "get_node_terms": Right(PROVIDERS, owned=True),
    "put_node_terms": Right(PROVIDERS, {"region": "eu-west"}, owned=True),
    "set_price": Right(PROVIDERS, {"unit": "cpu", "price_microusd_per_unit_hour": 10_000}, owned=True),
    "get_earnings": Right(PROVIDERS),
    "join_node": Right(frozenset({"joiner"})),
    "poll": Right(AGENTS, {"boot_id": "b", "seen_version": 0, "wait_seconds": 0, "pool": "ready"}),
    "put_inventory": Right(AGENTS, INVENTORY),
    "put_health": Right(AGENTS, {"conditions": []}),
    "report": Right(AGENTS),
    "get_order": Right(AGENTS, owned=True),
    "put_log": Right(AGENTS, b"log", owned=True, query="?offset=0"),
    "declare_outputs": Right(AGENTS, {"files": []}, owned=True),
    "list_proofs": Right(AGENTS),
    "begin_proof": Right(AGENTS, owned=True),
    "commit_proof": Right(AGENTS, {"roots": ["a" * 64]}, owned=True),
    "remember_proof": Right(AGENTS, {"roots": []}, owned=True),
    "probe_network": Right(AGENTS, owned=True),
    "answer_proof": Right(AGENTS, {"openings": []}, owned=True),
    "list_device_proofs": Right(PROVIDERS),
    "appeal_ban": Right(PROVIDERS, owned=True),
    "put_circuit": Right(PROVIDERS, {"circuit_watts": 1500}),
    "get_proofs": Right(frozenset({"operator"})),
    "lift_ban": Right(frozenset({"operator"})),
    "get_overview": Right(frozenset({"operator"})),
    "list_conditions": Right(frozenset({"operator"})),
    "get_metrics": Right(frozenset({"operator"})),
    "get_report": Right(frozenset({"operator"})),
    "get_job_trace": Right(frozenset({"operator"})),
    "list_rounds": Right(frozenset({"operator"})),
    "replay_round": Right(frozenset({"operator"})),
    "list_shares": Right(frozenset({"operator"})),
    "put_share": Right(frozenset({"operator"}), {"weight_milli": 2000}),
    "list_discounts": Right(frozenset({"operator"})),
    "put_discount": Right(frozenset({"operator"}), {"discount_basis_points": 100}),
    "list_adjustments": Right(frozenset({"operator"})),
    "adjust_line": Right(frozenset({"operator"}), {"line_id": "line_x", "reason": "x"}, headers=SPEND),
    "get_ledger": Right(frozenset({"operator"})),
    "close_epoch": Right(frozenset({"operator"})),
    "get_reconciliation": Right(frozenset({"operator"})),
    "list_unmatched_deposits": Right(frozenset({"operator"})),
    "assign_unmatched_deposit": Right(frozenset({"operator"}), {"organization_id": "org_x"}),
    "put_payout_terms": Right(PROVIDERS, {"threshold_microusd": None, "every_hours": None}),
    "get_epoch": Right(frozenset({"operator"})),
}


@dataclass
class Cast:
    """Everybody, and what the paths name."""

    callers: dict[str, Caller]
    names: dict[str, str]
    join: Mapping[str, Any]

    def request(self, operation_id: str, caller: Caller, names: Mapping[str, str], path: str) -> dict[str, Any]:
        right = RIGHTS[operation_id]
        if operation_id == "put_secret":
            names = {**names, "name": "PUT"}
        url = path.format(**names) + right.query
        body, headers = right.body, dict(right.headers)
        if operation_id == "join_node":
            body = self.join
        if operation_id == "report":
            node = caller if isinstance(caller, Node) else self.callers["agent"]
            assert isinstance(node, Node)
            body = canonical_json({"node_id": node.node_id, "sent_at_ms": 0, "statuses": [], "readings": []})
            headers["Gridbay-Signature"] = node.key.sign(REPORT_TAG, body)
        return {"url": url, "headers": headers, **({"content": body} if isinstance(body, bytes) else {"json": body})}


async def _cast(world: PortalWorld) -> Cast:
    provider_id, provider = await world.provider()
    other_provider_id, other_provider = await world.provider()
    agent = await world.node(provider_id)
    owner, stranger = await world.customer(), await world.customer()
    _, attempt_id = await world.placed(owner)
    other_agent = await world.node(other_provider_id)
    ended = (await owner.submit(budget={"max_price": "0.001"})).json()["job_id"]
    await owner.post(f"/v1/jobs/{ended}/stop")
    world.deliver()
    deposit = await owner.post("/v1/deposits", {"amount_microusd": 1_000_000}, key="cast")
    wanted = {"amount_microusd": 20_000, "wallet_address": WALLET}
    withdrawal = await owner.post("/v1/withdrawals", wanted, key="cast-out")
    budget = await owner.put("/v1/budgets", {"period": "day", "limit_microusd": 10**12})
    await owner.put("/v1/secrets/MINE", {"value": "s3cret"})
    disposable = (await owner.post("/v1/tokens", {"name": "x", "role": "viewer"})).json()["token_id"]
    revoked = await world.member(owner, Role.OWNER)
    expired = await world.member(owner, Role.OWNER, days=-1)
    mistyped = await world.keep(Caller(world.app, str(owner.token)[:-1] + "!"))
    join_token = world.token(TokenKind.JOIN, provider_id=provider_id)
    with world.base.database.transaction() as session:
        known = tokens.find(session, [tokens.digest(str(revoked.token))])
        tokens.revoke(session, owner.organization_id, next(iter(known.values())).token_id, world.clock.now())
    challenge_id = world.challenged(agent.node_id, provider_id)
    callers: dict[str, Caller] = {
        "anonymous": await world.anonymous(),
        "owner": owner,
        "member": await world.member(owner, Role.MEMBER),
        "viewer": await world.member(owner, Role.VIEWER),
        "stranger": stranger,
        "provider": provider,
        "other_provider": other_provider,
        "agent": agent,
        "other_agent": other_agent,
        "joiner": await world.keep(Caller(world.app, join_token)),
        "operator": await world.operator(),
        "expired": expired,
        "revoked": revoked,
        "mistyped": mistyped,
    }
    names = {
        "signature": "5" * 88,
        "job_id": ended,
        "attempt_id": attempt_id,
        "deposit_id": deposit.json()["deposit_id"],
        "withdrawal_id": withdrawal.json()["withdrawal_id"],
        "token_id": disposable,
        "budget_id": budget.json()["budget_id"],
        "name": "MINE",
        "node_id": agent.node_id,
        "epoch": "1",
        "report": "gmv",
        "challenge_id": challenge_id,
        "round_id": _newest_round(world),
        "device": "cpu",
        "organization_id": owner.organization_id,
    }
    return Cast(callers, names, join_body(NodeKey.generate(), join_token))


def _newest_round(world: PortalWorld) -> str:
    with world.base.database.read() as session:
        return records.recorded(session, limit=1)[0].id


def _operations(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [
        (operation["operationId"], method.upper(), path)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]


def _missing(names: Mapping[str, str]) -> dict[str, str]:
    """Well-formed names of things that never were."""
    prefixes = {"job_id": "job", "attempt_id": "att", "deposit_id": "dep", "token_id": "tok", "node_id": "node"}
    prefixes |= {"challenge_id": "prf", "withdrawal_id": "wdr", "budget_id": "bud"}
    fresh = {name: new_id(prefix) for name, prefix in prefixes.items()}  # type: ignore[arg-type]
    return {**names, **fresh, "name": "NEVER"}


def _without(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(value, f"<{name}>") if name not in ("epoch", "report", "device") else text
    # Each request has a number of its own.
    return re.sub(r"req_\w{26}", "<request>", text)


async def test_every_operation_lets_in_whom_it_should_and_nobody_else(world: PortalWorld) -> None:
    cast = await _cast(world)
    operations = _operations(world.app.openapi())
    assert {operation_id for operation_id, _, _ in operations} == set(RIGHTS), "list every operation in RIGHTS"
    wrong: list[str] = []
    for operation_id, method, path in operations:
        right = RIGHTS[operation_id]
        # Whom it lets in comes last, because some of them change what is there; the owner last of all.
        for role in sorted(cast.callers, key=lambda role: (role in right.may, role not in FOREIGN)):
            caller = cast.callers[role]
            if operation_id == "delete_secret":
                await cast.callers["owner"].put("/v1/secrets/MINE", {"value": "there again"})
            if operation_id == "offer_approval" and role in OWNERS:
                await caller.put("/v1/allowance", {"keep_microusd": 0})
            answer = await caller.http.request(method, **cast.request(operation_id, caller, cast.names, path))
            expected = _expected(role, right)
            if answer.status_code not in expected or (answer.is_error and not _is_problem(answer)):
                wrong.append(f"{operation_id} by {role}: {answer.status_code} {answer.text[:120]}, not {expected}")
    assert not wrong, "\n".join(wrong)


async def test_what_is_somebody_elses_looks_like_what_never_was(world: PortalWorld) -> None:
    cast = await _cast(world)
    missing = _missing(cast.names)
    for operation_id, method, path in _operations(world.app.openapi()):
        right = RIGHTS[operation_id]
        for role in sorted(right.may & FOREIGN) if right.owned else ():
            caller = cast.callers[role]
            foreign = await caller.http.request(method, **cast.request(operation_id, caller, cast.names, path))
            never = await caller.http.request(method, **cast.request(operation_id, caller, missing, path))
            assert foreign.status_code == never.status_code == 404, (operation_id, role, foreign.text)
            assert _without(foreign.text, cast.names) == _without(never.text, missing), operation_id


def _expected(role: str, right: Right) -> set[int]:
    if role not in right.may:
        return {401} if role in ("anonymous", "expired", "revoked", "mistyped") else {403}
    if right.owned and role in FOREIGN:
        return {404}
    # An epoch that is not closed and a bill that is in none are answers about the market, not about the caller.
    return {200, 201, 204, 404, 503} if right.may in ABOUT_THE_MARKET else {200, 201, 204}


def _is_problem(answer: httpx.Response) -> bool:
    return (
        answer.headers["content-type"] == "application/problem+json" and answer.json()["status"] == answer.status_code
    )


async def test_the_owner_named_in_any_other_field_has_no_effect(world: PortalWorld) -> None:
    await world.node()
    owner, stranger = await world.customer(), await world.customer()
    mine = (await owner.submit()).json()["job_id"]
    for headers in ({"X-Organization-Id": owner.organization_id}, {"X-Forwarded-User": owner.organization_id}):
        answer = await stranger.get("/v1/jobs", headers=headers)
        assert answer.json()["items"] == []
    asked = await stranger.get("/v1/jobs", params={"organization_id": owner.organization_id})
    assert (asked.status_code, asked.json()["errors"][0]["code"]) == (422, "unknown_field")
    refused = await stranger.post("/v1/jobs", {"spec": SPEC, "organization_id": owner.organization_id}, key="x")
    assert refused.status_code == 422
    assert (await stranger.get(f"/v1/jobs/{mine}")).status_code == 404


async def test_a_token_cannot_make_one_that_may_more(world: PortalWorld) -> None:
    owner = await world.customer()
    narrow = await owner.post("/v1/tokens", {"name": "t", "role": "owner", "scopes": ["tokens:write"]})
    keeper = await world.keep(Customer(world.app, narrow.json()["token"], owner.organization_id))
    wider = await keeper.post("/v1/tokens", {"name": "t", "role": "viewer"})
    assert (wider.status_code, wider.json()["code"]) == (403, "forbidden")
    same = await keeper.post("/v1/tokens", {"name": "t", "role": "owner", "scopes": ["tokens:write"]})
    assert same.status_code == 201
    assert (await keeper.get("/v1/jobs")).status_code == 403
    gone = await owner.http.delete(f"/v1/tokens/{narrow.json()['token_id']}")
    assert gone.status_code == 204
    assert (await keeper.get("/v1/me")).status_code == 401, "revoked here, dead here at once"
    short = await world.member(owner, Role.VIEWER, days=1)
    assert (await short.get("/v1/me")).status_code == 200
    world.clock.advance(timedelta(days=1))
    assert (await short.get("/v1/me")).status_code == 401, "expired"
