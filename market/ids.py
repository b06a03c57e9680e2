"""Identifiers: a prefix that says what it names, and 26 characters that sort by time.

The 26 characters are a ULID (48 bits of milliseconds, 80 random bits, Crockford's base 32).
"""

import re
import secrets
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
"""Two characters for each ten bits: ids are made by the hundred."""
_PATTERN = re.compile(r"^[a-z]{2,6}_[0-9A-HJKMNP-TV-Z]{26}$")


def new_id(prefix: Prefix) -> str:
    """A fresh identifier such as `job_01KAB...`; ids made later sort later (to the millisecond)."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join([_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)])


def is_id(text: str, prefix: Prefix) -> bool:
    """Whether the text has the form of an identifier of that kind."""
    return text.startswith(f"{prefix}_") and _PATTERN.fullmatch(text) is not None
