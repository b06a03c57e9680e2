"""What the contexts tell each other, in the past tense. Handlers reload the rows; a message is a reason to look."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from market.components import Components
from market.resources import Unit
from market.states import JobState, Reason


class Message(BaseModel):
    """The base of every message: immutable, named by its class. trace: the customer's request that it goes back to."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trace: str | None = None


def message_type(name: str) -> type[Message]:
    """The class of that name. Raises KeyError for a message this version does not know."""
    return {kind.__name__: kind for kind in Message.__subclasses__()}[name]


class AttemptPlaced(Message):
    """An attempt got a lease; from granted_at to held_until it is funded by the job's open hold.

    The price is what its organization pays: its discount is taken off already. components: what the price was made of,
    where more is in it than the unit's own.
    """

    job_id: str
    organization_id: str
    attempt_id: str
    attempt_number: int
    lease_id: str
    node_id: str
    provider_id: str
    unit: Unit
    quantity_milli: int
    price_microusd_per_unit_hour: int
    discount_basis_points: int = 0
    components: Components | None = None
    simulated: bool
    granted_at: datetime
    held_until: datetime


class AttemptEnded(Message):
    """An attempt reached its final state; no time after ended_at is billed."""

    job_id: str
    attempt_id: str
    lease_id: str
    ended_at: datetime
    reason: Reason


class JobRequeued(Message):
    """A job waits for a new attempt and needs its first window funded again, of at most remaining_seconds."""

    job_id: str
    organization_id: str
    attempts_placed: int
    remaining_seconds: int


class JobEnded(Message):
    """A job reached its final state. attempts_placed: how many AttemptPlaced were ever published for it."""

    job_id: str
    organization_id: str
    state: JobState
    reason: Reason
    attempts_placed: int


class JobFunded(Message):
    """Money is held for more of a job: `seconds` from its next lease on, or `until` a time of the lease it has."""

    job_id: str
    lease_id: str | None = None
    seconds: int | None = None
    until: datetime | None = None


class FundingRefused(Message):
    """No further window could be funded; what is held already stays good until `until` (None: nothing is).

    detail: why, where there is more to say than the reason does.
    """

    job_id: str
    lease_id: str | None
    reason: Reason
    until: datetime | None
    detail: str = ""


class DepositCredited(Message):
    organization_id: str
    amount_microusd: int


class WalletChanged(Message):
    """A provider said where it is paid; None: nowhere any more. changed_at orders two of them."""

    provider_id: str
    wallet_address: str | None
    changed_at: datetime


class EpochClosed(Message):
    epoch: int
