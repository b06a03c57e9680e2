"""The login on disk: which market, and the tokens for it, readable by their owner alone."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from market.errors import InvalidInput

KINDS = {"gbc_": "customer", "gbp_": "provider", "gbo_": "operator"}
"""What a token is for, by its prefix."""


@dataclass(frozen=True, slots=True)
class Account:
    """A market and the tokens one has there; None: not logged in as that. state: the folder of one on this machine."""

    url: str
    customer: str | None = None
    provider: str | None = None
    operator: str | None = None
    state: str | None = None

    def token(self, kind: str) -> str | None:
        return {"customer": self.customer, "provider": self.provider, "operator": self.operator}[kind]


def account_path() -> Path:
    return Path(platformdirs.user_config_dir("gridbay")) / "account.json"


def load_account() -> Account | None:
    """The stored login, or None. Raises InvalidInput for a file that is none or that others can read."""
    path = account_path()
    try:
        with path.open() as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InvalidInput(f"{path} can be read by others", remedy=f"chmod 600 {path}")
            account = Account(**json.load(file))
        if not all(isinstance(value, str | None) for value in asdict(account).values()):
            raise TypeError("a URL and tokens are text")
        return account
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise InvalidInput(f"{path} is not a login", remedy="remove it and run: gridbay login") from None


def save_account(account: Account) -> Path:
    """Write it whole, 0600, in place of what was there."""
    path = account_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump({name: value for name, value in asdict(account).items() if value is not None}, file, indent=2)
            file.write("\n")
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return path


def kind_of(token: str) -> str:
    """What a token is for. Raises InvalidInput for one that is not a person's."""
    kind = KINDS.get(token[:4])
    if kind is None:
        raise InvalidInput(
            "that is not a token one logs in with",
            remedy="they begin with gbc_ (customer), gbp_ (provider) or gbo_ (operator)",
        )
    return kind
