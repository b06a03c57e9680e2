"""The JSON-RPC errors of the local chain, with the codes that Solana's RPC gives."""

from enum import IntEnum
from typing import Any


class Code(IntEnum):
    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    PREFLIGHT_FAILURE = -32002
    SIGNATURE_VERIFICATION_FAILURE = -32003
    NODE_UNHEALTHY = -32005
    UNSUPPORTED_TRANSACTION_VERSION = -32015
    FILTER_TRANSACTION_NOT_FOUND = -32020


class RpcError(Exception):
    def __init__(self, code: Code, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"code": int(self.code), "message": self.message}
        return body if self.data is None else body | {"data": self.data}
