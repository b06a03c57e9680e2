"""The bill of a spot job: it pays its bid for what ran, before and after it made room, whatever is asked meanwhile."""

from datetime import timedelta

import pytest
from portal_world import INVENTORY, Customer, Node, PortalWorld, readings_of

from market.agent_api import AttemptStatus
from market.resources import Unit
from market.states import Reason
from scheduler import tables
from scheduler.supply import prices

pytestmark = pytest.mark.anyio
BID = 12_000
ASKED = 20_000
CPUS = INVENTORY["cpu_milli"] // 1000


async def lease_of(node: Node) -> str:
    [desired] = (await node.poll())["attempts"]
    return str(desired["lease_id"])


async def ran(world: PortalWorld, node: Node, attempt_id: str, seconds: int) -> None:
    """It runs so long, and reports it."""
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.deliver()
    lease_id = await lease_of(node)
    world.clock.advance(timedelta(seconds=seconds))
    await node.report(readings=readings_of(lease_id, 1000 * seconds))
    world.consume()


async def left(world: PortalWorld, node: Node, attempt_id: str, reason: Reason) -> None:
    code = 0 if reason is Reason.SUCCEEDED else 143
    await node.report(AttemptStatus(attempt_id=attempt_id, state="exited", reason=reason, exit_code=code))
    world.deliver()


async def placed_again(world: PortalWorld, customer: Customer, job_id: str) -> str:
    world.deliver()
    world.place()
    return str((await customer.get(f"/v1/jobs/{job_id}")).json()["attempts"][-1]["attempt_id"])


async def test_a_reclaimed_spot_job_pays_its_bid_for_what_ran_and_no_more(world: PortalWorld) -> None:
    node, customer, other = await world.node(), await world.customer(usdc=10), await world.customer(usdc=10)
    whole = {"cpu": CPUS}
    spot, first = await world.placed(customer, spot=True, resources=whole, budget={"max_price": "0.012"})
    # What is asked from now on touches no lease that runs: not even where it is less than the bid.
    reprice(world, node, 11_000)
    await ran(world, node, first, 100)
    reprice(world, node, ASKED)
    pays, none = await submitted(world, other, whole), (await node.poll())["attempts"]
    assert [(one["attempt_id"], one["action"], one["stop_reason"]) for one in none] == [
        (first, "stop", "stopped:spot_reclaimed")
    ]
    await left(world, node, first, Reason.STOPPED_SPOT_RECLAIMED)
    told = (await customer.get(f"/v1/jobs/{spot}/explanation")).json()
    assert (told["spot"]["reclaimed"], told["spot"]["outbid_by"]) == (1, None)
    second = await placed_again(world, other, pays)
    await ran(world, node, second, 50)
    await left(world, node, second, Reason.SUCCEEDED)
    third = await placed_again(world, customer, spot)
    assert third != first
    await ran(world, node, third, 30)
    await left(world, node, third, Reason.SUCCEEDED)

    cost = (await customer.get(f"/v1/jobs/{spot}/cost")).json()
    lines = [
        (line["attempt_number"], line["run_ms"], line["price_per_unit_hour"]["microusd"]) for line in cost["lines"]
    ]
    assert lines == [
        (1, 100_000, BID),
        (2, 30_000, BID),
    ]
    assert cost["total"]["microusd"] == sum(BID * CPUS * seconds // 3600 for seconds in (100, 30))
    assert cost["held"]["microusd"] == 0
    paid = (await other.get(f"/v1/jobs/{pays}/cost")).json()
    assert paid["total"]["microusd"] == ASKED * CPUS * 50 // 3600


def reprice(world: PortalWorld, node: Node, price: int) -> None:
    with world.base.database.transaction() as session:
        row = session.get_one(tables.Node, node.node_id)
        prices.set_price(session, row.provider_id, row.id, Unit.CPU, price, world.clock.now())


async def submitted(world: PortalWorld, customer: Customer, resources: dict[str, int]) -> str:
    answer = await customer.submit(resources=resources)
    assert answer.status_code == 201, answer.text
    world.place()
    return str(answer.json()["job_id"])
