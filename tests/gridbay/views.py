"""Answers of a market, as its models, with what a test does not care about filled in."""

from datetime import UTC, datetime
from typing import Any

from market.customer_api import AttemptView, JobView, Money, OfferView, PlanView
from market.resources import Unit
from market.states import AttemptState, JobState, Reason

JOB_ID = "job_01KADZ3V3B0000000000000001"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def offer(**more: Any) -> OfferView:
    known: dict[str, Any] = {
        "offer_id": "off_01KADZ3V3B0000000000000001",
        "node_id": "node_01KADZ3V3B0000000000000001",
        "node_name": "amber",
        "provider_id": "prv_01KADZ3V3B0000000000000001",
        "unit": Unit.GPU,
        "model": "NVIDIA H100 80GB HBM3",
        "memory_bytes": 85_520_809_984,
        "total_milli": 8000,
        "free_milli": 6000,
        "cpu_free_milli": 96_000,
        "memory_free_bytes": 512 * 10**9,
        "price_per_unit_hour": Money.of(2_100_000),
        "simulated": False,
    }
    return OfferView(**{**known, **more})


def cpu_offer(**more: Any) -> OfferView:
    small = {"unit": Unit.CPU, "model": "cpu", "memory_bytes": 0, "total_milli": 2000, "free_milli": 2000}
    return offer(**{**small, "price_per_unit_hour": Money.of(20_000), "cpu_free_milli": 2000, **more})


def plan(**more: Any) -> PlanView:
    known: dict[str, Any] = {
        "offers": [cpu_offer()],
        "offer_count": 1,
        "unit": Unit.CPU,
        "quantity_milli": 1000,
        "price_limit_per_unit_hour": Money.of(20_000),
        "expected_price_per_hour": Money.of(20_000),
        "highest_cost": Money.of(3_334),
        "first_hold": Money.of(3_334),
        "max_duration_seconds": 600,
    }
    return PlanView(**{**known, **more})


def attempt(**more: Any) -> AttemptView:
    known: dict[str, Any] = {
        "attempt_id": "att_01KADZ3V3B0000000000000001",
        "number": 1,
        "state": AttemptState.RUNNING,
        "reason": Reason.RUNNING,
        "detail": "",
        "node_id": "node_01KADZ3V3B0000000000000001",
        "node_name": "amber",
        "provider_id": "prv_01KADZ3V3B0000000000000001",
        "price_per_unit_hour": Money.of(20_000),
        "exit_code": None,
        "placed_at": NOON,
        "started_at": NOON,
        "ended_at": None,
    }
    return AttemptView(**{**known, **more})


def job(state: JobState = JobState.QUEUED, reason: Reason = Reason.QUEUED_FOR_CAPACITY, **more: Any) -> JobView:
    known: dict[str, Any] = {
        "job_id": JOB_ID,
        "name": "digits",
        "detail": "",
        "exit_code": None,
        "unit": Unit.CPU,
        "quantity_milli": 1000,
        "attempts": [],
        "cost": Money.of(0),
        "held": Money.of(3_334),
        "billed": False,
        "spec": {"run": "true"},
        "version": 1,
        "created_at": NOON,
        "started_at": None,
        "ended_at": None,
    }
    return JobView(**{**known, "state": state, "reason": reason, **more})


def ended_job(exit_code: int | None = 0, *, cost: int = 42, **more: Any) -> JobView:
    good = exit_code == 0
    state, reason = (JobState.SUCCEEDED, Reason.SUCCEEDED) if good else (JobState.FAILED, Reason.FAILED_EXIT_CODE)
    past = attempt(
        state=AttemptState.SUCCEEDED if good else AttemptState.FAILED,
        reason=reason,
        exit_code=exit_code,
        ended_at=NOON.replace(second=7),
    )
    known: dict[str, Any] = {
        "attempts": [past],
        "exit_code": exit_code,
        "cost": Money.of(cost),
        "held": Money.of(0),
        "billed": True,
        "run_ms": 7_000,
        "started_at": NOON,
        "ended_at": NOON.replace(second=7),
        "version": 9,
    }
    return job(**{"state": state, "reason": reason, **known, **more})
