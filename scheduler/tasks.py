"""The scheduler's Celery tasks. All read the truth themselves: how often they are asked changes nothing."""

import contextlib
import time
from functools import partial

import redis
import structlog

from infra.bus.tasks import PLACE_QUEUE, task
from infra.ground import ground
from infra.pace import Pace
from scheduler.proofs import mending, planning, rates, verifying
from scheduler.proofs.judgement import Check
from scheduler.rounds import kept, placing, queueing, records
from scheduler.supply import health, intervals, reliability
from scheduler.upkeep import reconcile, sweep
from scheduler.waking import PLACE, VERIFY_PROOFS
from scheduler.work import stops
from scheduler.work.locked import BATCH_MAX

SWEEP = "scheduler.sweep"
log = structlog.get_logger(__name__)
PASSES_MAX = 20
ROUND_GATHERS_SECONDS_MAX = 0.08
_rounds = Pace(ROUND_GATHERS_SECONDS_MAX)


@task(PLACE, queue=PLACE_QUEUE, every=2)
def place() -> None:
    """Place what is queued."""
    base = ground()
    # Many rounds in a row would each look at little.
    time.sleep(_rounds.wait_seconds)
    # The relay asks again only once this key is gone; it goes before anything is read, so that no wish is lost.
    with contextlib.suppress(redis.RedisError):
        base.cache.delete(base.settings.key("wake", PLACE))
    with _rounds.piece():
        placing.run(base.database, base.clock, limit=base.settings.placement_round_max)


@task(SWEEP, every=2)
def sweep_all() -> None:
    """Let time pass its judgement, a bounded batch and a transaction at a time."""
    base = ground()
    limits = sweep.Limits.of(base.settings)
    with base.database.transaction() as session:
        sweep.mark_lost(session, base.clock.now(), limits)
    # One transaction a kind and batch: each locks jobs before nodes, and the next one starts afresh.
    for step in (sweep.end_lost, partial(sweep.end_expired, limits=limits), stops.ask_due):
        for _ in range(PASSES_MAX):
            with base.database.transaction() as session:
                found = step(session, base.clock.now())
            if found < BATCH_MAX:
                break


@task("scheduler.follow_supply", every=10)
def follow_supply() -> None:
    """Note what is offered, for utilization."""
    base = ground()
    with base.database.transaction() as session:
        intervals.follow(session, base.clock.now())


@task("scheduler.forget_health", every=600)
def forget_health() -> None:
    """Forget telemetry and conditions that are older than they are kept."""
    base = ground()
    for _ in range(PASSES_MAX):
        with base.database.transaction() as session:
            if health.trim(session, base.clock.now()) < health.TRIM_MAX:
                break


@task("scheduler.learn_reliability", every=600)
def learn_reliability() -> None:
    """Count how attempts ended on each node."""
    base = ground()
    with base.database.transaction() as session:
        reliability.learn(session, base.clock.now())


@task("scheduler.forget_rounds", every=600)
def forget_rounds() -> None:
    """Forget old rounds, what the queue remembers of jobs that wait no longer, and what every round has seen change."""
    base = ground()
    with base.database.transaction() as session:
        records.forget(session, base.clock.now())
        queueing.forget(session)
    for _ in range(PASSES_MAX):
        with base.database.transaction() as session:
            if kept.forget(session) < kept.FORGET_MAX:
                break


@task("scheduler.reconcile", every=60)
def reconcile_rows() -> None:
    """Compare what must agree, and mend it."""
    base = ground()
    with base.database.transaction() as session:
        found = reconcile.reconcile(session, base.clock.now())
    for disagreement in found:
        log.error("rows_disagree", found=disagreement)


@task("scheduler.plan_proofs", every=10)
def plan_proofs() -> None:
    """Challenge the devices that are due; on a market without proofs, take back what has mended."""
    base = ground()
    with base.database.transaction() as session:
        if base.settings.proofs:
            planning.plan(session, base.clock.now())
        else:
            mending.release_all(session)


@task(VERIFY_PROOFS, every=10)
def verify_proofs() -> None:
    """Judge what was answered, for a bounded CPU time."""
    base = ground()
    with contextlib.suppress(redis.RedisError):
        base.cache.delete(base.settings.key("wake", VERIFY_PROOFS))
    verifying.run(
        base.database,
        base.clock,
        shadow=[Check(name) for name in base.settings.proof_shadow],
        cpu_seconds_max=base.settings.proof_verify_seconds,
    )


@task("scheduler.learn_rates", every=600)
def learn_rates() -> None:
    """Bring what cards are measured at up to date, and drop challenges of long ago."""
    base = ground()
    with base.database.transaction() as session:
        rates.learn(session, base.clock.now())
        rates.forget(session, base.clock.now())
