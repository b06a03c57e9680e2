"""What an installation may lack: said as a remedy instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from market.errors import Unavailable

_OURS = ("gridbay", "market", "infra", "scheduler", "billing", "monitoring", "portal_api", "provider_agent")


@contextmanager
def need_embedded() -> Iterator[None]:
    """Imports of the whole market's side."""
    with _need("embedded", "a market on this machine"):
        yield


@contextmanager
def need_agent() -> Iterator[None]:
    """Imports of the provider's side."""
    with _need("agent", "a provider's machine"):
        yield


@contextmanager
def _need(extra: str, purpose: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OURS:
            # A fault of ours, not of the installation.
            raise
        raise Unavailable(
            f"{purpose} needs {error.name}, which is not installed", remedy=f"pip install 'gridbay[{extra}]'"
        ) from None
