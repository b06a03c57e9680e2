"""Canonical bytes: the one JSON form that is hashed and signed (docs/formats)."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces, no floats: the same value always gives the same bytes.

    Raises ValueError on floats, whose text form is not the same everywhere.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def tagged_hash(tag: str, *parts: bytes) -> bytes:
    """SHA-256 over a domain tag, a newline and the parts, so that no two formats share a hash."""
    digest = hashlib.sha256(tag.encode() + b"\n")
    for part in parts:
        digest.update(part)
    return digest.digest()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise ValueError(f"{value!r}: a float has no canonical form; use an integer of a smaller unit")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
