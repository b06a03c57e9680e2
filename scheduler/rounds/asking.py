"""What a job asks of placement: of its row, or of its specification."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from market.measured import parse_rate
from market.resources import GpuRequest, Unit
from market.specs import JobSpec, Where
from scheduler.placement.facts import version_of
from scheduler.placement.requests import Request, Terms
from scheduler.rounds.speeds import BYTES_IN_MB, BYTES_IN_MBIT
from scheduler.tables import Job

COLUMNS = (
    Job.id,
    Job.unit,
    Job.gpu_count,
    Job.gpu_model,
    Job.gpu_memory_min_bytes,
    Job.gpu_memory_max_bytes,
    Job.gpu_mig,
    Job.cpu_milli,
    Job.memory_bytes,
    Job.disk_bytes,
    Job.price_limit_microusd_per_unit_hour,
    Job.simulated,
)
"""What request_of_row reads."""
ASKED = f"""{", ".join(column.key for column in COLUMNS)}, max_duration_seconds, spec->'where' AS wanted,
    coalesce(cast(spec#>>'{{budget,price_tolerance}}' AS bigint), 0) AS price_tolerance_milli,
    coalesce(cast(spec->>'spot' AS boolean), false) AS spot"""
"""All that a job asks, as SQL of a row of `jobs`."""


def request_of_row(job: Any, discount_basis_points: int = 0) -> Request:
    """Of a job; or of a row of those columns, without its terms and what its organization pays less."""
    document = getattr(job, "spec", {})
    return Request(
        job_id=job.id,
        unit=job.unit,
        gpu=gpus_of(job.gpu_count, job.gpu_model, job.gpu_memory_min_bytes, job.gpu_memory_max_bytes, job.gpu_mig),
        cpu_milli=job.cpu_milli,
        memory_bytes=job.memory_bytes,
        disk_bytes=job.disk_bytes,
        price_limit_microusd_per_unit_hour=job.price_limit_microusd_per_unit_hour,
        simulated=job.simulated,
        price_tolerance_milli=document.get("budget", {}).get("price_tolerance", 0),
        terms=terms_for(getattr(job, "max_duration_seconds", 0), document.get("where")),
        spot=document.get("spot", False) or getattr(job, "spot", False),
        discount_basis_points=discount_basis_points,
    )


def request_of_spec(
    spec: JobSpec, price_limit_microusd_per_unit_hour: int | None, discount_basis_points: int = 0
) -> Request:
    """Of a specification."""
    resources = spec.resources
    return Request(
        job_id="",
        unit=Unit.GPU if resources.gpu else Unit.CPU,
        gpu=resources.gpu,
        cpu_milli=resources.cpu,
        memory_bytes=resources.memory,
        disk_bytes=resources.disk,
        price_limit_microusd_per_unit_hour=price_limit_microusd_per_unit_hour,
        simulated=resources.simulated,
        price_tolerance_milli=spec.budget.price_tolerance,
        terms=terms_of(spec.where or Where(), spec.max_duration),
        spot=spec.spot,
        discount_basis_points=discount_basis_points,
    )


@lru_cache(maxsize=1024)
def gpus_of(
    count: int, model: str | None, least: int | None, most: int | None, mig: str | None = None
) -> GpuRequest | None:
    """least, most: bytes of memory. mig: the profile of a slice. Equal ones are one; None where no GPU is asked for."""
    if not count:
        return None
    return GpuRequest(count=count, model=model, memory_min_bytes=least, memory_max_bytes=most, mig=mig)


def terms_for(max_duration_seconds: int, where: Mapping[str, Any] | None) -> Terms:
    """where: a specification's, as plain data."""
    return (
        _lasting(max_duration_seconds) if where is None else terms_of(Where.model_validate(where), max_duration_seconds)
    )


@lru_cache(maxsize=1024)
def _lasting(seconds: int) -> Terms:
    """Most requests ask nothing else: equal ones are one."""
    return Terms(duration_seconds=seconds)


def _least(rate: str | None, unit: int) -> int:
    return -(-parse_rate(rate) // unit) if rate else 0


def terms_of(where: Where, max_duration_seconds: int) -> Terms:
    """What a specification asks of nodes."""
    return Terms(
        regions=frozenset(where.regions),
        providers=frozenset(where.providers.allow),
        providers_denied=frozenset(where.providers.deny),
        tier_min=int(where.verified_only),
        reliability_milli_min=round((where.min_reliability or 0) * 1000),
        driver_min=version_of(where.driver),
        cuda_min=version_of(where.cuda),
        compute_capability_min=version_of(where.compute_capability),
        nvlink=where.nvlink,
        network_mbit_min=_least(where.network, BYTES_IN_MBIT),
        pcie_mb_min=_least(where.pcie, BYTES_IN_MB),
        labels=frozenset(where.labels),
        tolerations=frozenset(where.tolerations),
        duration_seconds=max_duration_seconds,
    )
