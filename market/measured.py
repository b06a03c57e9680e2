"""What nodes are measured at when they prove themselves, by the names under which offers tell it and are searched.

The market's clock times what is proven (matrix, memory); the rest is the node's own word.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from market.faults import unknown

AT_LEAST_MAX = 8
"""Figures that one search may ask for."""
VALUE_MAX = 10**18


class Measure(StrEnum):
    """matrix: exact INT8 operations a second. The others are bytes a second: memory, of reading the device's own; pcie,
    between the host's memory and the device's; disk, where jobs run, sequential; network, to and from storage."""

    MATRIX = "matrix"
    MEMORY = "memory"
    PCIE_TO_DEVICE = "pcie_to_device"
    PCIE_TO_HOST = "pcie_to_host"
    DISK_WRITE = "disk_write"
    DISK_READ = "disk_read"
    NETWORK_UP = "network_up"
    NETWORK_DOWN = "network_down"

    @property
    def kind(self) -> str:
        """As rows and answers name it."""
        return f"{self.value}_operations_per_second" if self is Measure.MATRIX else f"{self.value}_bytes_per_second"


class UnknownMeasure(ValueError):
    """meant: the one that was probably meant, "" where none is near."""

    def __init__(self, words: str, meant: str) -> None:
        super().__init__(words)
        self.meant = meant


_SCALES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_FIGURE = re.compile(r"^(\d{1,15}(?:\.\d{1,6})?)\s*([KMGTP]?)(OP|BIT|B)?(?:/S|PS)?$", re.IGNORECASE | re.ASCII)
_BITS = 8


def parse_at_least(texts: Sequence[str]) -> dict[Measure, int]:
    """`network_down=100Mbit`, `pcie_to_device=20GB`, `matrix=200T`: what each is asked to be at least, a second.

    Raises UnknownMeasure, ValueError.
    """
    if len(texts) > AT_LEAST_MAX:
        raise ValueError(f"{len(texts)} figures are asked for, {AT_LEAST_MAX} at most")
    asked: dict[Measure, int] = {}
    for text in texts:
        measure, value = _parse(text)
        asked[measure] = max(value, asked.get(measure, 0))
    return asked


def parse_rate(text: str) -> int:
    """Bytes a second of "100Mbit" or "12.5MB". Raises ValueError."""
    match = _FIGURE.match(text.strip())
    if match is None or (match[3] or "").upper() not in ("BIT", "B"):
        raise ValueError(f"{text!r} is not so much a second: write it like 100Mbit or 20GB")
    value = int(Decimal(match[1]) * _SCALES[match[2].upper()]) // (_BITS if match[3].upper() == "BIT" else 1)
    if not 0 < value <= VALUE_MAX:
        raise ValueError(f"{text!r} is out of range: write it like 100Mbit or 20GB")
    return value


def rate_in_words(measure: Measure, value: int) -> str:
    """Such as "1,979 TOP/s" or "1.2 GB/s"."""
    sign = next((sign for sign in "TGMK" if value >= _SCALES[sign]), "")
    number = value / _SCALES[sign]
    sign = "k" if sign == "K" else sign
    unit = "OP/s" if measure is Measure.MATRIX else "B/s"
    return f"{number:,.0f} {sign}{unit}" if number >= 100 or not sign else f"{number:,.1f} {sign}{unit}"


def _parse(text: str) -> tuple[Measure, int]:
    name, equals, figure = text.partition("=")
    name = name.strip().lower()
    if name not in set(Measure):
        raise UnknownMeasure(*unknown(name, [measure.value for measure in Measure]))
    measure = Measure(name)
    example = "matrix=200T" if measure is Measure.MATRIX else f"{name}=100MB or {name}=800Mbit"
    match = _FIGURE.match(figure.strip())
    unit = (match[3] or "").upper() if match is not None else ""
    if match is None or not equals or (unit and (unit == "OP") is not (measure is Measure.MATRIX)):
        raise ValueError(f"{text!r} is not understood: write it like {example}")
    value = int(Decimal(match[1]) * _SCALES[match[2].upper()])
    value = value // _BITS if unit == "BIT" else value
    if not 0 < value <= VALUE_MAX:
        raise ValueError(f"{text!r} is out of range: write it like {example}")
    return measure, value
