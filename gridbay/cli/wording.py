"""Numbers and states in words: sizes, durations, quantities, prices, reasons."""

from datetime import UTC, datetime

from market.customer_api import AttemptView, ComponentsView, JobView, OfferView
from market.money import GIB
from market.resources import Unit
from market.states import JobState, Reason

REASONS = {
    Reason.QUEUED_FOR_PLACEMENT: "waits for the next round of placement",
    Reason.QUEUED_FOR_CAPACITY: "waits for free capacity",
    Reason.QUEUED_FOR_FUNDS: "waits for money",
    Reason.NO_OFFER: "no offer matches it",
    Reason.RECOVERING_PROVIDER_LOST: "its node was lost; a new attempt will follow",
    Reason.RECOVERING_RETRY: "it failed; a new attempt will follow",
    Reason.RECOVERING_SPOT_RECLAIMED: "it made room for what pays more; a new attempt will follow",
    Reason.PLACED: "",
    Reason.RUNNING: "",
    Reason.STOPPING_BY_USER: "as you asked",
    Reason.STOPPING_SPOT_RECLAIMED: "it makes room for what pays more",
    Reason.SUCCEEDED: "",
    Reason.FAILED_EXIT_CODE: "",
    Reason.FAILED_SIGNAL: "a signal ended it",
    Reason.FAILED_OUT_OF_MEMORY: "it needed more memory than it asked for",
    Reason.FAILED_START: "it could not be started",
    Reason.FAILED_WORKDIR: "its working directory could not be unpacked",
    Reason.FAILED_OUTPUTS: "its outputs could not be kept",
    Reason.FAILED_PROVIDER_LOST: "its nodes were lost too often",
    Reason.STOPPED_BY_USER: "as you asked",
    Reason.STOPPED_MAX_DURATION: "max_duration was reached",
    Reason.STOPPED_BALANCE_EXHAUSTED: "the balance is used up",
    Reason.STOPPED_BUDGET_EXHAUSTED: "its budget is used up",
    Reason.STOPPED_LEASE_EXPIRED: "its lease ran out",
    Reason.STOPPED_SPOT_RECLAIMED: "it made room for what pays more",
}
"""What a state does not say by itself."""
COLOURS = {
    JobState.QUEUED: "yellow",
    JobState.PLACED: "cyan",
    JobState.RUNNING: "cyan",
    JobState.STOPPING: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.STOPPED: "magenta",
}


def reason(job: JobView) -> str:
    """Why a job is in its state, in words; empty where the state says it all."""
    code = f"exit code {job.exit_code}" if job.exit_code is not None and job.exit_code > 0 else ""
    return ", ".join(part for part in (words_of(job.reason), code, job.detail) if part)


def words_of(why: Reason) -> str:
    """A reason in words; what a market says of one that this version does not know is better than nothing."""
    return REASONS.get(why, str(why))


def state(job: JobView) -> str:
    """The state with its reason: "queued: waits for free capacity"."""
    return ": ".join(part for part in (str(job.state), reason(job)) if part)


def size(count: int) -> str:
    """Bytes as people say them: 85.5 GB."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """1d 2h, 3m 20s, 6.1s: the two largest parts."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds % 1 else f"{seconds:.0f}s"
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    return " ".join([f"{number}{unit}" for number, unit in parts if number][:2])


def quantity(milli: int, unit: Unit) -> str:
    """1 GPU, 2 GPUs, 0.5 CPUs."""
    return f"{milli / 1000:g} {unit.upper()}{'' if milli == 1000 else 's'}"


def unit_name(unit: Unit) -> str:
    return f"{unit.upper()}-hour"


def model(offer: OfferView) -> str:
    """What an offer's unit is, marked if it is not real."""
    name = "CPU" if offer.unit is Unit.CPU else offer.model
    return f"{name} (simulated)" if offer.simulated else name


def made_of(made: ComponentsView) -> str:
    """What a price was made of: 0.20 the unit, 4 CPUs at 0.005, 16 GiB of memory at 0.001; bid 0.15."""
    parts = [f"{made.unit_per_hour.usdc} the unit"]
    parts += [f"{made.cpu_milli / 1000:g} CPUs at {made.cpu_per_hour.usdc}"] if made.cpu_milli else []
    kinds = (
        ("memory", made.memory_bytes, made.memory_per_gib_hour),
        ("disk", made.disk_bytes, made.disk_per_gib_hour),
    )
    parts += [f"{taken / GIB:.4g} GiB of {kind} at {price.usdc}" for kind, taken, price in kinds if taken]
    bid = f"; bid {made.bid_per_unit_hour.usdc}" if made.bid_per_unit_hour else ""
    return f"{', '.join(parts)}{bid}"


def run_seconds(job: JobView, now: datetime | None = None) -> float:
    """How long its attempts ran: as it was metered once it is billed, until then as the server saw it."""
    if job.billed:
        return job.run_ms / 1000
    return sum(attempt_seconds(attempt, now) for attempt in job.attempts)


def attempt_seconds(attempt: AttemptView, now: datetime | None = None) -> float:
    if attempt.started_at is None:
        return 0.0
    return max(0.0, ((attempt.ended_at or now or datetime.now(UTC)) - attempt.started_at).total_seconds())


def moment(value: datetime | None) -> str:
    """A time here, to the second."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value is not None else ""
