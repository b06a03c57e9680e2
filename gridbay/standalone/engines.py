"""Which engines of a market on this machine are servers that somebody else runs, named by a URL in the environment.

The chain is always the market's own: `gridbay up` has test money alone.
"""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

DATABASE = "GRIDBAY_DATABASE_URL"
BUSES = ("GRIDBAY_BROKER_URL", "GRIDBAY_USAGE_BUS_URL", "GRIDBAY_CACHE_URL")
STORAGE = "GRIDBAY_STORAGE_URL"
CREDENTIALS = "AWS_"
"""How the names of S3's credentials begin: they are the control plane's, not the agent's."""


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """The URLs of the servers that are given."""
    return {name: environment[name] for name in (DATABASE, *BUSES, STORAGE) if environment.get(name)}


def own_children(urls: Mapping[str, str]) -> set[str]:
    """The names of the servers that the market must bring itself, beside those that are given."""
    own = {"chain"}
    if DATABASE not in urls:
        own.add("postgres")
    if not all(name in urls for name in BUSES):
        own.add("valkey")
    # A folder needs a process that serves it, wherever it lies; S3 serves itself.
    if not urls.get(STORAGE, "").startswith("s3:"):
        own.add("storage")
    return own


def passwords(urls: Mapping[str, str]) -> set[str]:
    """What must not be shown of these URLs."""
    return {unquote(password) for url in urls.values() if (password := urlsplit(url).password)}
