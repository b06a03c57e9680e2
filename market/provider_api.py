"""The words of /provider/v1: what a provider's SDK and the portal exchange."""

from datetime import datetime

from market.customer_api import ComponentPricesView, Money, View
from market.resources import Unit


class AskView(View):
    """What is asked for one unit and hour, and beside it."""

    offer_id: str
    unit: Unit
    model: str
    price_per_unit_hour: Money
    components: ComponentPricesView | None = None


class ConditionView(View):
    """What stands against a node or one of its GPUs (gpu_uuid). quarantines: nothing is placed there meanwhile."""

    gpu_uuid: str | None
    code: str
    quarantines: bool
    reason: str
    remedy: str
    detail: str
    began_at: datetime


class GpuView(View):
    """present: the agent sees it now; quarantined: nothing is placed on it.

    mended_at: since when its agent calls it well again; it is quarantined until it has proven itself since.
    """

    uuid: str
    index: int
    model: str
    memory_bytes: int
    present: bool
    quarantined: bool
    mended_at: datetime | None = None
    compute_capability: str | None = None
    pci_bus_id: str | None = None
    power_limit_milliwatts: int | None = None
    ecc: bool | None = None
    nvlinks: int | None = None


class MinuteView(View):
    """A minute of a GPU. Spreads are [least, mean, most] of its samples; null is what the device does not tell."""

    gpu_uuid: str
    minute_at: datetime
    samples: int
    throttled_samples: int
    busy_percent: list[int] | None
    memory_used_mib: list[int] | None
    temperature_c: list[int] | None
    power_milliwatts: list[int] | None
    sm_clock_mhz: list[int] | None
    energy_millijoules: int | None


class NodeView(View):
    """state: online, lost or gone; pool: how its Ray pool fares; quarantined: nothing is placed on any of it."""

    node_id: str
    name: str
    hostname: str
    state: str
    pool: str
    simulated: bool
    sandbox: str
    agent_version: str
    cpu_total_milli: int
    cpu_free_milli: int
    memory_total_bytes: int
    memory_free_bytes: int
    joined_at: datetime
    last_seen_at: datetime
    driver_version: str | None
    cuda_version: str | None
    quarantined: bool
    gpus: list[GpuView]
    conditions: list[ConditionView]
    offers: list[AskView]


class NodeList(View):
    items: list[NodeView]


class JoinTokenView(View):
    """token: shown this once."""

    token_id: str
    token: str
    uses: int | None
    expires_at: datetime


class EarningsView(View):
    """payable: earned and not sent yet; paying: on its way; paid: confirmed by the chain; wallet_address: where to.

    rent: what was kept of it for making the wallet's token account; payable_from: nothing is sent to a changed address
    before; held: why the chain cannot pay the wallet, empty if it can. reversed: what adjustments took back of the
    earnings; owed: what of it had been paid already, and is kept of the next earnings.
    """

    payable: Money
    paying: Money
    paid: Money
    rent: Money
    wallet_address: str | None
    payable_from: datetime | None
    threshold_microusd: int | None
    every_hours: int | None
    held: str
    reversed: Money = Money(usdc="0.00", microusd=0)
    owed: Money = Money(usdc="0.00", microusd=0)
