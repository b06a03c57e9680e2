"""Everything a customer asks of the portal and is answered: the schema of /v1, shared by the portal and the SDK.

Money appears twice: as a decimal string in USDC for people and as an integer of micro-USDC for programs.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from market.components import ComponentPrices, Components
from market.money import format_usdc
from market.resources import Unit
from market.states import AttemptState, JobState, Reason

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENT_REPLAY_HEADER = "Idempotent-Replayed"
PAGE_MAX = 200
WORKDIR_MAX_BYTES = 512 * 1024 * 1024
SECRET_MAX_BYTES = 32_768


class Once(StrEnum):
    """How far a job is when somebody who waits is told of it, once."""

    OVER = "over"
    BILLED = "billed"


class View(BaseModel):
    """An answer. A newer market may say more than an older SDK knows."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Money(View):
    usdc: str
    microusd: int

    @classmethod
    def of(cls, microusd: int) -> "Money":
        return cls(usdc=format_usdc(microusd), microusd=microusd)


Item = TypeVar("Item")


class Page(View, Generic[Item]):
    """One page; next_cursor is opaque and None at the end."""

    items: list[Item]
    next_cursor: str | None = None


class ComponentPricesView(View):
    """What an offer asks for an hour of what is taken beside its units: a CPU beside GPUs, a GiB of memory, of disk."""

    cpu_per_hour: Money
    memory_per_gib_hour: Money
    disk_per_gib_hour: Money

    @classmethod
    def of(cls, prices: ComponentPrices) -> "ComponentPricesView":
        cpu, memory, disk = (Money.of(price) for price in prices)
        return cls(cpu_per_hour=cpu, memory_per_gib_hour=memory, disk_per_gib_hour=disk)


class ComponentsView(View):
    """What a price of a unit and hour was made of, as the offer asked it, before any discount: the unit by itself, each
    component with what was taken of it, and a spot job's bid. price = min(bid, asked less the discount)."""

    unit_per_hour: Money
    cpu_milli: int
    cpu_per_hour: Money
    memory_bytes: int
    memory_per_gib_hour: Money
    disk_bytes: int
    disk_per_gib_hour: Money
    bid_per_unit_hour: Money | None = None

    @classmethod
    def of(cls, made: Components) -> "ComponentsView":
        bid = made.bid_microusd_per_unit_hour
        return cls(
            unit_per_hour=Money.of(made.unit_microusd_per_hour),
            cpu_milli=made.cpu_milli,
            cpu_per_hour=Money.of(made.cpu_microusd_per_hour),
            memory_bytes=made.memory_bytes,
            memory_per_gib_hour=Money.of(made.memory_microusd_per_gib_hour),
            disk_bytes=made.disk_bytes,
            disk_per_gib_hour=Money.of(made.disk_microusd_per_gib_hour),
            bid_per_unit_hour=Money.of(bid) if bid else None,
        )


class OfferView(View):
    """One node's offer. free and total count units (GPUs or CPUs) right now.

    verified: every device of the node has proven that it computes. measured: what its least device was measured at, by
    kind. work_price: what 10¹⁸ operations of its matrix rate cost; None where no rate was measured. Prices are what the
    organization pays: discount_basis_points of what is asked are taken off already. components: what is asked beside
    the units, if anything is. price_per_unit_hour is all in, for what was asked for; unit_price_per_hour: of the unit
    by itself.
    """

    offer_id: str
    node_id: str
    node_name: str
    provider_id: str
    unit: Unit
    model: str
    memory_bytes: int
    total_milli: int
    free_milli: int
    cpu_free_milli: int
    memory_free_bytes: int
    price_per_unit_hour: Money
    simulated: bool
    verified: bool = False
    measured: dict[str, int] = {}
    work_price: Money | None = None
    discount_basis_points: int = 0
    components: ComponentPricesView | None = None
    unit_price_per_hour: Money | None = None


class SubmitRequest(BaseModel):
    """spec: job.yaml as JSON; workdir_sha256: of an archive uploaded before. dry_run charges and stores nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: dict[str, Any]
    workdir_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class PlanView(View):
    """What a job would get and cost. highest_cost: nothing can make the job cost more than this.

    minimum_seconds: an attempt whose command began is charged for so long at least, but where its end is the provider's
    or the market's doing.
    Prices are what the organization pays: discount_basis_points of what is asked are taken off already.
    """

    offers: list[OfferView] = Field(description="the best matching offers, cheapest first")
    offer_count: int
    unit: Unit
    quantity_milli: int
    price_limit_per_unit_hour: Money
    expected_price_per_hour: Money | None
    highest_cost: Money
    first_hold: Money
    max_duration_seconds: int
    explanation: str = ""
    discount_basis_points: int = 0
    minimum_seconds: int = 0


class AttemptView(View):
    """components: what its price was made of, where more is in it than the unit's own."""

    attempt_id: str
    number: int
    state: AttemptState
    reason: Reason
    detail: str
    node_id: str
    node_name: str
    provider_id: str
    price_per_unit_hour: Money
    exit_code: int | None
    placed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    components: ComponentsView | None = None


class JobView(View):
    """A job. cost is what has been charged so far, for run_ms that it ran; held what is set aside for it now.

    credited: what of the cost was given back by adjustments.
    """

    job_id: str
    name: str
    state: JobState
    reason: Reason
    detail: str
    exit_code: int | None
    unit: Unit
    quantity_milli: int
    attempts: list[AttemptView]
    cost: Money
    held: Money
    billed: bool = Field(description="the job has ended and every line of its bill is written")
    spec: dict[str, Any]
    version: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    run_ms: int = 0
    credited: Money = Money(usdc="0.00", microusd=0)


class CostLine(View):
    line_id: str
    attempt_number: int
    window_number: int
    quantity_milli: int
    run_ms: int
    price_per_unit_hour: Money
    amount: Money
    provider_share: Money
    fee: Money
    rounding: Money
    epoch: int | None
    captured_at: datetime
    discount_basis_points: int = 0
    minimum_ms: int = Field(default=0, description="it is charged for so long, where that is more than it ran")
    components: ComponentsView | None = None


class AdjustmentView(View):
    """A part of a line that was given back. cause: operator, or the rule by which it followed."""

    adjustment_id: str
    line_id: str
    amount: Money
    cause: str
    reason: str
    adjusted_at: datetime


class CostView(View):
    """total: of the lines; credited: what of it was given back, by the adjustments."""

    job_id: str
    total: Money
    held: Money
    highest_cost: Money
    lines: list[CostLine]
    credited: Money = Money(usdc="0.00", microusd=0)
    adjustments: list[AdjustmentView] = []


class OutputView(View):
    path: str
    size_bytes: int
    sha256: str
    url: str


class WorkdirRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(gt=0, le=WORKDIR_MAX_BYTES)


class WorkdirAnswer(View):
    """upload_url: PUT the archive there; None when the market has it already."""

    sha256: str
    upload_url: str | None


class LogLine(View):
    """One chunk of a log as an SSE event; its id is "{attempt_number}:{end_offset}" for Last-Event-ID."""

    attempt_number: int
    offset: int
    text: str


class SecretRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    value: str = Field(min_length=1, max_length=SECRET_MAX_BYTES)


class IdentityView(View):
    """Who the credential speaks for."""

    organization_id: str
    organization_name: str
    role: str
    scopes: list[str]


class Fault(View):
    """One place of an input that is wrong; see market.errors.FieldError."""

    pointer: str = ""
    detail: str = ""
    code: str = Field(default="invalid", description="one of the field codes of /errors")
    suggestion: str = Field(default="", description="what was probably meant; empty if nothing is near")
    source: str = Field(default="body", description="body, query, path or header")
    parameter: str = Field(default="", description="its name, where the source is not the body")


class Problem(View):
    """RFC 9457. type leads to what the code means; code is stable; errors name the places in the input."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    remedy: str = ""
    errors: list[Fault] = []
    request_id: str = Field(default="", description="the market's number of the request, for its operator")
