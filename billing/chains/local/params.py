"""Reading the parameters of a JSON-RPC call: every value checked, every refusal naming the parameter."""

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, TypeVar

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import SanitizeError, VersionedTransaction

from billing.chains.local import base58
from billing.chains.local.errors import Code, RpcError
from billing.chains.local.slots import Commitment
from billing.chains.transactions import WIRE_BYTES_MAX

_ENCODED_MAX: Final = 2 * WIRE_BYTES_MAX
T = TypeVar("T")


def invalid(message: str) -> RpcError:
    return RpcError(Code.INVALID_PARAMS, f"Invalid params: {message}")


class Options:
    """The object of named options that ends most calls; unknown names are ignored, as Solana's RPC does."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def commitment(self, *, lowest: Commitment = Commitment.PROCESSED) -> Commitment:
        name = self.choice("commitment", tuple(Commitment), Commitment.FINALIZED)
        if name == Commitment.PROCESSED != lowest:
            raise invalid("this method does not support commitment below `confirmed`")
        return Commitment(name)

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self._values.get(name)
        if value is None:
            return default
        if value not in allowed:
            raise invalid(f"{name} must be one of {', '.join(allowed)}")
        return str(value)

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(f"{name} must be true or false")
        return bool(value)

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self._values.get(name)
        return None if value is None else _integer(value, name, low, high)

    def signature(self, name: str) -> Signature | None:
        value = self._values.get(name)
        return None if value is None else _parsed(Signature.from_string, value, name)

    def refuse(self, *names: str) -> None:
        """An option that would change the answer must not be ignored in silence."""
        for name in names:
            if self._values.get(name):
                raise invalid(f"the local chain does not offer the option {name}")


class Params:
    """Positional parameters, by index from 0."""

    def __init__(self, values: Any) -> None:
        if values is None:
            values = []
        if not isinstance(values, list):
            raise invalid("params must be an array")
        self._values = values

    def given(self, index: int) -> bool:
        return index < len(self._values)

    def options(self, index: int) -> Options:
        value = self._values[index] if index < len(self._values) else None
        if value is not None and not isinstance(value, dict):
            raise invalid(f"parameter {index} must be an object of options")
        return Options(value or {})

    def pubkey(self, index: int) -> Pubkey:
        return _parsed(Pubkey.from_string, self._at(index), f"parameter {index} (an address)")

    def signature(self, index: int) -> Signature:
        return _parsed(Signature.from_string, self._at(index), f"parameter {index} (a signature)")

    def blockhash(self, index: int) -> Hash:
        return _parsed(Hash.from_string, self._at(index), f"parameter {index} (a blockhash)")

    def integer(self, index: int, low: int, high: int) -> int:
        return _integer(self._at(index), f"parameter {index}", low, high)

    def pubkeys(self, index: int, limit: int) -> list[Pubkey]:
        return [_parsed(Pubkey.from_string, value, "an address") for value in self._list(index, limit)]

    def signatures(self, index: int, limit: int) -> list[Signature]:
        return [_parsed(Signature.from_string, value, "a signature") for value in self._list(index, limit)]

    def transaction(self, index: int, options: Options) -> VersionedTransaction:
        encoding = options.choice("encoding", ("base58", "base64"), "base58")
        wire = _decoded(self._at(index), encoding)
        if len(wire) > WIRE_BYTES_MAX:
            raise invalid(f"the transaction has {len(wire)} bytes, Solana takes {WIRE_BYTES_MAX}")
        try:
            transaction = VersionedTransaction.from_bytes(wire)
            transaction.sanitize()
        except (ValueError, SanitizeError) as error:
            raise invalid(f"failed to deserialize the transaction: {error}") from error
        if bytes(transaction) != wire:
            raise invalid("the transaction has bytes after its end")
        return transaction

    def _at(self, index: int) -> Any:
        if index >= len(self._values):
            raise invalid(f"parameter {index} is missing")
        return self._values[index]

    def _list(self, index: int, limit: int) -> list[Any]:
        values = self._at(index)
        if not isinstance(values, list) or len(values) > limit:
            raise invalid(f"parameter {index} must be an array of at most {limit}")
        return values


def _integer(value: Any, name: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(f"{name} must be an integer from {low} to {high}")
    return value


def _parsed(parse: Callable[[str], T], value: Any, name: str) -> T:
    if not isinstance(value, str):
        raise invalid(f"{name} must be text")
    try:
        return parse(value)
    except ValueError as error:
        raise invalid(f"{name}: {error}") from error


def _decoded(value: Any, encoding: str) -> bytes:
    if not isinstance(value, str) or len(value) > _ENCODED_MAX:
        raise invalid(f"the transaction must be text of at most {_ENCODED_MAX} characters")
    try:
        return base64.b64decode(value, validate=True) if encoding == "base64" else base58.decode(value)
    except (ValueError, binascii.Error) as error:
        raise invalid(f"the transaction is not {encoding}: {error}") from error
