"""Which rules decided a round: a digest of the code of placement, so that nobody has to remember to count it up."""

import hashlib
from functools import cache
from pathlib import Path

DIGEST_BYTES = 8


@cache
def rules_digest() -> str:
    """Of every source file of scheduler/placement, by name; it changes with any of them."""
    root = Path(__file__).parents[1]
    mixed = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in sorted(root.rglob("*.py")):
        mixed.update(f"{path.relative_to(root).as_posix()}\0".encode())
        mixed.update(path.read_bytes())
    return mixed.hexdigest()
