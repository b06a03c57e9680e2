"""The overview counts what is there: supply, jobs, money, and what is stuck."""

from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from billing.charging.funding import JobTerms, open_job
from billing.ledger import accounts
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.outbox.tables import Delivery
from market.agent_api import JoinRequest
from market.clock import ManualClock
from market.ids import new_id
from market.resources import GpuFacts, Inventory
from market.signing import NodeKey
from market.specs import parse_job_spec
from market.states import JobState
from monitoring.overview import ledger_state, overview
from scheduler.rounds import placing, quotes
from scheduler.rounds.queueing import Walk
from scheduler.supply import nodes, providers
from scheduler.supply.nodes import Heartbeat
from scheduler.work import jobs
from scheduler.work.jobs import NewJob

USDC = 1_000_000
SPEC = parse_job_spec({"run": "true", "resources": {"gpu": "H100"}, "max_duration": "15m"})


def _deposit(session: Session, clock: ManualClock, organization_id: str, amount: int) -> None:
    from solders.keypair import Keypair

    treasury = Custody(Keypair(), "mint")
    deposit = deposits.request(session, organization_id, amount, clock.now(), to=treasury)
    deposits.credit(session, deposit.deposit_id, [Arrival("signature", 0, amount)], clock.now())


def _node(session: Session, clock: ManualClock, gpus: int, *, simulated: bool = False) -> str:
    facts = [
        GpuFacts(uuid=f"{'SIM' if simulated else 'GPU'}-{n:04d}", index=n, model="H100", memory_bytes=80 * 10**9)
        for n in range(gpus)
    ]
    inventory = Inventory(
        hostname="h",
        cpu_milli=8000,
        memory_bytes=64 * 10**9,
        disk_bytes=10**12,
        gpus=facts,
        simulated=simulated,
        sandbox="bubblewrap",
        agent_version="1",
    )
    request = JoinRequest(
        public_key=NodeKey.generate().public_hex, possession="0" * 128, name="node", inventory=inventory
    )
    provider = providers.create(session, "p", clock.now())
    node = nodes.join(session, provider.id, request, clock.now())
    nodes.heartbeat(session, [Heartbeat(node.id, "boot", "ready")], clock.now())
    return node.id


def _job(session: Session, clock: ManualClock, organization_id: str) -> None:
    plan = quotes.plan(session, SPEC, organization_id)
    job_id, limit = new_id("job"), plan.price_limit_microusd_per_unit_hour
    terms = JobTerms(job_id, organization_id, plan.unit, plan.quantity_milli, limit, None, SPEC.max_duration)
    window = open_job(session, terms, clock.now())
    jobs.submit(session, [NewJob(job_id, organization_id, SPEC, None, limit, window.seconds)], clock.now())


def test_an_empty_market_is_all_zeros(session: Session, clock: ManualClock) -> None:
    empty = overview(session, clock.now())
    assert empty.nodes.online == empty.capacity.gpus_total == empty.queue_depth == empty.open_epoch_lines == 0
    assert set(empty.jobs) == set(JobState) and sum(empty.jobs.values()) == 0
    assert empty.money.custody.microusd == empty.ledger_imbalance_microusd == 0
    assert ledger_state(session).broken == []


def test_the_overview_is_what_happened(session: Session, clock: ManualClock) -> None:
    organization_id = new_id("org")
    _deposit(session, clock, organization_id, 10 * USDC)
    _node(session, clock, gpus=2)
    _node(session, clock, gpus=4, simulated=True)
    for _ in range(3):
        _job(session, clock, organization_id)
    assert placing.place(session, clock, Walk(10), seed="s").placed == 2
    clock.advance(timedelta(seconds=7))
    seen = overview(session, clock.now())
    assert (seen.nodes.online, seen.nodes.lost) == (2, 0)
    assert (seen.capacity.gpus_total, seen.capacity.gpus_leased, seen.capacity.simulated_gpus_total) == (2, 2, 4)
    assert (seen.capacity.leases, seen.capacity.cpu_leased_milli) == (2, 2000)
    assert (seen.jobs[JobState.PLACED], seen.jobs[JobState.QUEUED], seen.queue_depth) == (2, 1, 1)
    assert seen.oldest_queued_seconds == 7.0
    held = 3 * 100_000
    assert seen.money.held.microusd == held and seen.money.available.microusd == 10 * USDC - held
    assert seen.money.custody.microusd == 10 * USDC and seen.ledger_imbalance_microusd == 0
    assert seen.deliveries_parked == 0 and seen.deliveries_waiting > 0
    state = ledger_state(session)
    assert (state.broken, state.imbalance_microusd) == ([], 0) and state.entries > 0


def test_what_is_parked_is_seen(session: Session, clock: ManualClock) -> None:
    _deposit(session, clock, new_id("org"), USDC)
    _node(session, clock, gpus=1)
    organization_id = new_id("org")
    assert accounts.available(organization_id).startswith("org:")
    session.execute(update(Delivery).values(parked_at=clock.now()))
    before = overview(session, clock.now())
    assert before.deliveries_waiting == 0
