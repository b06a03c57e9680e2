"""What typing a `gridbay` command gives back."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """What a command wrote and its exit status."""

    code: int
    out: str
    err: str


Gridbay = Callable[..., Ended]
