"""A customer's secret reaches the node that runs its job, and nothing else: no answer, no log, no row, no bus."""

import logging
from collections.abc import Iterator

import pytest
import redis
import structlog
from portal_world import Customer, Node, PortalWorld
from sqlalchemy import text

from infra.database import Base
from infra.ground import Ground
from infra.logging import configure_logging
from market.agent_api import AttemptStatus
from portal_api import agent_orders

pytestmark = pytest.mark.anyio
CANARY = "canary-7f3a9e-of-the-customer"


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[object]]:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as entries:
        caplog.set_level("DEBUG")
        yield [entries, caplog]


def _rows(base: Ground) -> str:
    """Everything that is in the database, as text."""
    with base.database.read() as session:
        return "\n".join(
            str(row)
            for table in Base.metadata.sorted_tables
            for row in session.execute(text(f'SELECT t::text FROM "{table.name}" AS t'))  # names of our own
        )


async def _use(world: PortalWorld, customer: Customer, node: Node) -> list[str]:
    """A job that needs the secret, from its submission to its end; the texts of all answers but the order's."""
    stored = await customer.put("/v1/secrets/API_KEY", {"value": CANARY})
    listed = await customer.get("/v1/secrets")
    assert listed.json() == {"names": ["API_KEY"]}
    job_id, attempt_id = await world.placed(customer, secrets=["API_KEY"], run='test -n "$API_KEY"')
    order = await node.get(f"/agent/v1/attempts/{attempt_id}/order")
    assert order.json()["secrets"] == [{"name": "API_KEY", "value": CANARY}]
    reported = await node.report(AttemptStatus(attempt_id=attempt_id, state="exited", exit_code=0))
    world.settle()
    after = await node.get(f"/agent/v1/attempts/{attempt_id}/order")
    assert after.status_code == 404, "once it is over nobody gets the order any more"
    shown = [await customer.get(f"/v1/jobs/{job_id}{part}") for part in ("", "/cost", "/logs", "/events", "/outputs")]
    listing = await customer.get("/v1/jobs")
    graph = await customer.post("/graphql", {"query": f'{{ job(jobId: "{job_id}") {{ spec detail }} }}'})
    too_long = await customer.put("/v1/secrets/API_KEY", {"value": CANARY, "owner": CANARY})
    assert too_long.status_code == 422
    return [answer.text for answer in (stored, listed, reported, after, *shown, listing, graph, too_long)]


async def test_the_canary_sings_nowhere(world: PortalWorld, logged: list[object], cache: redis.Redis) -> None:
    customer, node = await world.customer(), await world.node()
    answers = await _use(world, customer, node)
    assert all(CANARY not in answer for answer in answers)
    assert CANARY not in str(logged[0]) and CANARY not in logged[1].text  # type: ignore[attr-defined]
    rows = _rows(world.base)
    assert "API_KEY" in rows and CANARY not in rows and CANARY.encode().hex() not in rows
    assert customer.token is not None and customer.token[8:] not in rows and str(node.token)[8:] not in rows
    assert CANARY not in str([cache.dump(key) for key in cache.keys("*")])


async def test_a_fault_while_a_secret_is_open_does_not_tell_it_to_the_log(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    customer, node = await world.customer(), await world.node()
    await customer.put("/v1/secrets/API_KEY", {"value": CANARY})
    _, attempt_id = await world.placed(customer, secrets=["API_KEY"])

    def broken(**fields: object) -> None:
        raise RuntimeError(f"{len(fields)} fields")

    monkeypatch.setattr(agent_orders, "AttemptOrder", broken)
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logging("test")
    # Loggers that keep this configuration would keep it for the tests that follow.
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    try:
        answer = await node.get(f"/agent/v1/attempts/{attempt_id}/order")
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        structlog.contextvars.clear_contextvars()
    printed = capsys.readouterr().err
    assert answer.status_code == 500 and "RuntimeError" in printed and "request_failed" in printed
    assert CANARY not in printed and str(node.token) not in printed


async def test_a_secret_is_its_organizations_alone(world: PortalWorld) -> None:
    node, customer, stranger = await world.node(), await world.customer(), await world.customer()
    await customer.put("/v1/secrets/API_KEY", {"value": CANARY})
    assert (await stranger.get("/v1/secrets")).json() == {"names": []}
    refused = await stranger.submit(secrets=["API_KEY"])
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/spec/secrets/0")
    await stranger.put("/v1/secrets/API_KEY", {"value": "theirs"})
    _, attempt_id = await world.placed(stranger, secrets=["API_KEY"])
    order = (await node.get(f"/agent/v1/attempts/{attempt_id}/order")).json()
    assert order["secrets"] == [{"name": "API_KEY", "value": "theirs"}]
    with world.base.database.transaction() as session:
        session.execute(
            text(
                "UPDATE customer_secrets SET sealed = (SELECT sealed FROM customer_secrets WHERE organization_id = :a)"
                " WHERE organization_id = :b"
            ),
            {"a": customer.organization_id, "b": stranger.organization_id},
        )
    swapped = await node.get(f"/agent/v1/attempts/{attempt_id}/order")
    assert swapped.status_code == 500 and CANARY not in swapped.text, "sealed for one owner, it opens for no other"


async def test_a_secret_that_is_gone_is_said_and_not_guessed(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    await customer.put("/v1/secrets/API_KEY", {"value": CANARY})
    _, attempt_id = await world.placed(customer, secrets=["API_KEY"])
    assert (await customer.http.delete("/v1/secrets/API_KEY")).status_code == 204
    answer = await node.get(f"/agent/v1/attempts/{attempt_id}/order")
    assert answer.status_code == 409 and "API_KEY was deleted" in answer.json()["detail"]
    assert (await customer.put("/v1/secrets/1BAD", {"value": "x"})).status_code == 422
