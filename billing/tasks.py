"""Billing's Celery tasks: each reads the truth itself, does a bounded piece of work, and may run twice."""

import structlog

from billing.charging import alerts, capture, faults, renewals
from billing.ledger import audit
from billing.settling import allowance_watch, epochs
from billing.settling.settlement import Settler
from billing.treasury import custody, deposit_watch, sweep
from infra.bus.tasks import task
from infra.ground import ground
from infra.telemetry import INVARIANTS_BROKEN
from market.failpoints import failpoint

log = structlog.get_logger(__name__)
PASSES_MAX = 20


@task("billing.fund_windows", every=5)
def fund_windows() -> None:
    """Hold the next window of every live lease that is due for one."""
    base = ground()
    with base.database.transaction() as session:
        renewals.fund_windows(session, base.clock.now())


@task("billing.capture", every=2)
def capture_windows() -> None:
    """Settle the windows that are over, and leases that have ended."""
    base = ground()
    with base.database.transaction() as session:
        capture.capture_due(session, base.clock.now())
        failpoint("billing.captured")
    failpoint("billing.capture.committed")


@task("billing.credit_faults", every=5)
def credit_faults() -> None:
    """Give back what was lost by a provider's or the platform's fault."""
    base, after = ground(), ""
    for _ in range(PASSES_MAX):
        with base.database.transaction() as session:
            page = faults.credit_due(session, base.clock.now(), after=after)
        if page.last is None:
            break
        after = page.last


@task("billing.watch_money", every=15)
def watch_money() -> None:
    """Tell organizations of a balance or a budget that ends."""
    base = ground()
    with base.database.transaction() as session:
        alerts.watch(session, base.clock.now())


@task("billing.close_epoch", every=15)
def close_epoch() -> None:
    """Close the epoch if it has lasted long enough."""
    base = ground()
    with base.database.transaction() as session:
        epochs.close_if_due(session, base.clock.now())


@task("billing.settle", every=2)
def settle() -> None:
    """Carry anchors, payouts and pulls to the chain."""
    if custody.signs():
        base = ground()
        Settler(base.database, custody.chain(), custody.custody(), base.clock).run()


@task("billing.watch_deposits", every=1)
def watch_deposits() -> None:
    """Look on the chain for the deposits that were announced."""
    base = ground()
    deposit_watch.watch(base.database, custody.chain(), base.clock)


@task("billing.watch_allowances", every=2)
def watch_allowances() -> None:
    """Look at offered approvals, and at what may be pulled from the accounts of those who are short."""
    if custody.has_treasury():
        base = ground()
        allowance_watch.watch(base.database, custody.chain(), custody.custody(), base.clock)


@task("billing.sweep_treasury", every=10)
def sweep_treasury() -> None:
    """Read what came into the treasury, or left it, since the last look."""
    if custody.has_treasury():
        base = ground()
        sweep.sweep(base.database, custody.chain(), custody.custody(), base.clock)


@task("billing.audit", every=60)
def check_books() -> None:
    """Say every broken invariant aloud."""
    with ground().database.read() as session:
        for broken in audit.check(session):
            INVARIANTS_BROKEN.inc()
            log.error("ledger_invariant_broken", broken=broken)
