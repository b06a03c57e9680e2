"""Components: the CPUs, memory and disk that a job takes beside its units, where its offer asks a price for them.

They are in the one price of a unit and hour (docs/adr/0016); what that was made of is frozen beside it.
"""

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from market.money import beside_price_microusd, discounted_microusd


class ComponentPrices(NamedTuple):
    """What an offer asks an hour, in micro-USDC: for a CPU beside GPUs, for a GiB of memory, for a GiB of disk."""

    cpu_microusd_per_hour: int = 0
    memory_microusd_per_gib_hour: int = 0
    disk_microusd_per_gib_hour: int = 0


class Components(BaseModel):
    """What the price of a unit and hour was made of: the offer's prices, what one node's share of the job takes, and
    the bid of a spot job (0: none). A component that adds nothing is 0, price and quantity."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    unit_microusd_per_hour: int = Field(default=0, ge=0)
    cpu_milli: int = Field(default=0, ge=0)
    cpu_microusd_per_hour: int = Field(default=0, ge=0)
    memory_bytes: int = Field(default=0, ge=0)
    memory_microusd_per_gib_hour: int = Field(default=0, ge=0)
    disk_bytes: int = Field(default=0, ge=0)
    disk_microusd_per_gib_hour: int = Field(default=0, ge=0)
    bid_microusd_per_unit_hour: int = Field(default=0, ge=0)

    @classmethod
    def of(
        cls, unit_microusd_per_hour: int, prices: ComponentPrices, taken: tuple[int, int, int], bid: int = 0
    ) -> "Components":
        """taken: thousandths of CPUs, bytes of memory, bytes of disk."""
        paid = [(much, price) if much and price else (0, 0) for much, price in zip(taken, prices, strict=True)]
        (cpu_milli, cpu), (memory_bytes, memory), (disk_bytes, disk) = paid
        return cls(
            unit_microusd_per_hour=unit_microusd_per_hour,
            cpu_milli=cpu_milli,
            cpu_microusd_per_hour=cpu,
            memory_bytes=memory_bytes,
            memory_microusd_per_gib_hour=memory,
            disk_bytes=disk_bytes,
            disk_microusd_per_gib_hour=disk,
            bid_microusd_per_unit_hour=bid,
        )

    @property
    def prices(self) -> ComponentPrices:
        return ComponentPrices(
            self.cpu_microusd_per_hour, self.memory_microusd_per_gib_hour, self.disk_microusd_per_gib_hour
        )

    @property
    def told(self) -> bool:
        """Whether it tells any price."""
        return any((self.unit_microusd_per_hour, *self.prices, self.bid_microusd_per_unit_hour))

    @property
    def taken(self) -> tuple[int, int, int]:
        return self.cpu_milli, self.memory_bytes, self.disk_bytes

    def asked_microusd(self, quantity_milli: int) -> int:
        """What was asked for a unit and hour, all in. quantity_milli: the units of the same share."""
        return self.unit_microusd_per_hour + beside_price_microusd(self.taken, self.prices, quantity_milli)

    def price_microusd(self, quantity_milli: int, discount_basis_points: int) -> int:
        """What is paid for a unit and hour: what was asked, less the discount, or the bid where that is less."""
        paid = discounted_microusd(self.asked_microusd(quantity_milli), discount_basis_points)
        return min(paid, self.bid_microusd_per_unit_hour) if self.bid_microusd_per_unit_hour else paid
