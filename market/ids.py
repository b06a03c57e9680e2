"""Identifiers: a prefix that says what it names, and 26 characters that sort by time.

The 26 characters are a ULID (48 bits of milliseconds, 80 random bits, Crockford's base 32).
"""

import os
import re
import time
from typing import Literal

Prefix = Literal[
    "org",
    "tok",
    "prv",
    "node",
    "off",
    "job",
    "att",
    "lease",
    "win",
    "hold",
    "xfer",
    "line",
    "pay",
    "batch",
    "dep",
    "wdr",
    "alw",
    "pull",
    "req",
    "prf",
    "rnd",
    "bud",
    "evt",
    "adj",
]
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two characters for each ten bits."""
_RANDOM = 16
"""So many of the characters are random ones, five bits each."""
_TO_CHARACTER = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_PATTERN = re.compile(r"^[a-z]{2,6}_[0-9A-HJKMNP-TV-Z]{26}$")


def new_id(prefix: Prefix) -> str:
    """A fresh identifier such as `job_01KAB...`; ids made later sort later (to the millisecond)."""
    return new_ids(prefix, 1)[0]


def new_ids(prefix: Prefix, count: int) -> list[str]:
    """So many at once, in their order: the clock and the source of chance are asked once."""
    milliseconds = time.time_ns() // 1_000_000
    stem = f"{prefix}_" + "".join([_PAIRS[milliseconds >> shift & 1023] for shift in (40, 30, 20, 10, 0)])
    chance = os.urandom(_RANDOM * count).translate(_TO_CHARACTER).decode("ascii")
    return sorted([stem + chance[at : at + _RANDOM] for at in range(0, len(chance), _RANDOM)])


def is_id(text: str, prefix: Prefix) -> bool:
    """Whether the text has the form of an identifier of that kind."""
    return text.startswith(f"{prefix}_") and _PATTERN.fullmatch(text) is not None
