"""Money is an integer of micro-USDC; this module owns the only arithmetic that is done with it."""

import re
from dataclasses import dataclass
from decimal import Decimal

MICROUSD_PER_USDC = 1_000_000
MILLISECONDS_PER_HOUR = 3_600_000
MILLI = 1_000
BASIS_POINTS = 10_000
GIB = 2**30
MICROUSD_MAX = 2**53 - 1
"""The largest amount anywhere: it survives JSON readers that hold numbers as doubles."""
PRICE_MAX_MICROUSD = 10**9
"""The highest price of one unit and hour, asked or offered."""
COMPONENT_PRICE_MAX_MICROUSD = 10**6
"""The highest price of an hour of a CPU beside GPUs, of a GiB of memory, of a GiB of disk."""

_DECIMAL = re.compile(r"^(\d{1,10})(?:\.(\d{1,6}))?$", re.ASCII)


def parse_usdc(text: str | int | float) -> int:
    """Micro-USDC of a decimal amount of USDC, such as "0.42" → 420000.

    A float counts as the decimal number that it is written as. Raises ValueError for a sign, more than six decimals,
    an amount over MICROUSD_MAX, or anything else that is not such an amount.
    """
    written = format(Decimal(repr(text)), "f").removesuffix(".0") if isinstance(text, float) else str(text).strip()
    match = _DECIMAL.match(written)
    if match is None:
        raise ValueError(f"{text!r} is not an amount of USDC: write it like 0.42, with at most six decimals")
    amount = int(match[1]) * MICROUSD_PER_USDC + int((match[2] or "").ljust(6, "0"))
    if amount > MICROUSD_MAX:
        raise ValueError(f"{text!r} is more than any amount here may be, {format_usdc(MICROUSD_MAX)} USDC")
    return amount


def format_usdc(amount_microusd: int) -> str:
    """A decimal string with two to six decimals, such as 420000 → "0.42"."""
    sign, amount = ("-" if amount_microusd < 0 else ""), abs(amount_microusd)
    whole, fraction = divmod(amount, MICROUSD_PER_USDC)
    return f"{sign}{whole}.{f'{fraction:06d}'.rstrip('0').ljust(2, '0')}"


def beside_price_microusd(taken: tuple[int, int, int], prices: tuple[int, int, int], quantity_milli: int) -> int:
    """What that many thousandths of CPUs, bytes of memory and bytes of disk add to the price of each unit and hour of
    the same share of a job, rounded down. prices: of an hour of a CPU, of a GiB of memory, of a GiB of disk.

    This is the one stated rounding of a price that is asked; nothing is added where there are no units.
    """
    (cpu_milli, memory_bytes, disk_bytes), (of_cpu, of_memory, of_disk) = taken, prices
    total = cpu_milli * of_cpu * GIB + MILLI * (memory_bytes * of_memory + disk_bytes * of_disk)
    return total // (quantity_milli * GIB) if quantity_milli else 0


def discounted_microusd(asked_microusd: int, discount_basis_points: int) -> int:
    """What a discount leaves of a price that is asked, rounded down."""
    return asked_microusd * (BASIS_POINTS - discount_basis_points) // BASIS_POINTS


def usage_charge_microusd(quantity_milli: int, run_ms: int, price_microusd_per_unit_hour: int) -> int:
    """The charge for that many thousandths of a unit (GPU or CPU) over that many milliseconds, rounded down.

    This is the one stated rounding of usage: it is applied to a lease's *cumulative* time, and a usage line
    is the difference of two such results, so that lines add up to the charge of the whole.
    """
    return quantity_milli * run_ms * price_microusd_per_unit_hour // (MILLI * MILLISECONDS_PER_HOUR)


def window_hold_microusd(quantity_milli: int, window_ms: int, price_microusd_per_unit_hour: int) -> int:
    """What must be held so that no line of that window can exceed it: the same product, rounded up."""
    product = quantity_milli * window_ms * price_microusd_per_unit_hour
    return -(-product // (MILLI * MILLISECONDS_PER_HOUR))


@dataclass(frozen=True, slots=True)
class Split:
    """How one charge is divided; the three parts add up to it exactly."""

    provider_microusd: int
    fee_microusd: int
    rounding_microusd: int


def reversal_split(charged: Split, before_microusd: int, amount_microusd: int) -> Split:
    """How so much more of a charge is taken back, after `before_microusd` of it were.

    No part ever gives back more than it got; when all of the charge is taken back, each has given exactly that.
    """
    so_far, then = (_reversed(charged, before_microusd + more) for more in (0, amount_microusd))
    return Split(
        then.provider_microusd - so_far.provider_microusd,
        then.fee_microusd - so_far.fee_microusd,
        then.rounding_microusd - so_far.rounding_microusd,
    )


def _reversed(charged: Split, amount_microusd: int) -> Split:
    """Of so much in all: the fee's part rounded down, the rest the provider's as far as it got that much."""
    total = charged.provider_microusd + charged.fee_microusd + charged.rounding_microusd
    fee = charged.fee_microusd * amount_microusd // total if total else 0
    provider = min(charged.provider_microusd, amount_microusd - fee)
    return Split(provider, fee, amount_microusd - fee - provider)


def split_charge(charge_microusd: int, fee_basis_points: int, discount_basis_points: int = 0) -> Split:
    """Divide a charge between provider and platform, both rounded down; the rest (0 or 1) is named rounding.

    The charge is what a discount has left, and the discount is the platform's alone: fee and discount are parts of the
    undiscounted price, and so is what the provider gets. No discount is above its fee, or BASIS_POINTS.
    """
    left = BASIS_POINTS - discount_basis_points
    fee = charge_microusd * (fee_basis_points - discount_basis_points) // left
    provider = charge_microusd * (BASIS_POINTS - fee_basis_points) // left
    return Split(provider, fee, charge_microusd - fee - provider)
