"""The chart of accounts: what each is called. An account comes into being with its first transfer.

A positive balance belongs to its holder. `chain:treasury` alone is negative: the USDC in custody that backs the rest.
"""

TREASURY = "chain:treasury"
FEES = "platform:fees"
ROUNDING = "platform:rounding"
RENT = "platform:rent"

_SINGLE = {TREASURY: "treasury", FEES: "fees", ROUNDING: "rounding", RENT: "rent"}
_OWNED = {"org": ("available", "held", "withdrawing"), "provider": ("payable", "paying")}


def available(organization_id: str) -> str:
    """What an organization can spend."""
    return f"org:{organization_id}:available"


def held(organization_id: str) -> str:
    """What is set aside for its jobs."""
    return f"org:{organization_id}:held"


def withdrawing(organization_id: str) -> str:
    """What is on its way to a wallet of the organization's own."""
    return f"org:{organization_id}:withdrawing"


def payable(provider_id: str) -> str:
    """What a provider has earned and was not sent yet."""
    return f"provider:{provider_id}:payable"


def paying(provider_id: str) -> str:
    """What is on its way to a provider's wallet."""
    return f"provider:{provider_id}:paying"


def kind_of(account_id: str) -> str:
    """The kind of an account by its name. Raises ValueError for a name that this module does not give."""
    if account_id in _SINGLE:
        return _SINGLE[account_id]
    owner, _, rest = account_id.partition(":")
    kind = rest.rpartition(":")[2]
    if kind not in _OWNED.get(owner, ()):
        raise ValueError(f"{account_id!r} is not the name of an account")
    return kind
