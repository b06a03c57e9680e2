"""JSON-RPC 2.0 around the methods: one request or a bounded batch in, bytes out."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from billing.chains.local.chain import LocalChain
from billing.chains.local.errors import Code, RpcError
from billing.chains.local.params import Params

BATCH_MAX: Final = 100
log = logging.getLogger(__name__)


class Silence(Exception):
    """No answer is given: the connection ends."""


class Dispatcher:
    def __init__(self, chain: LocalChain, table: Mapping[str, Callable[[Params], Any]]) -> None:
        self._chain = chain
        self._table = table

    def answer(self, body: bytes) -> bytes:
        """Raises Silence where a fault was asked for that answers nothing."""
        try:
            request = json.loads(body)
        # RecursionError: brackets nested deeper than Python follows
        except (ValueError, RecursionError):
            return _encoded(_failure(None, RpcError(Code.PARSE_ERROR, "Parse error")))
        if not isinstance(request, list):
            return _encoded(self._one(request))
        if not 1 <= len(request) <= BATCH_MAX:
            error = RpcError(Code.INVALID_REQUEST, f"a batch takes 1 to {BATCH_MAX} requests")
            return _encoded(_failure(None, error))
        return _encoded([self._one(each) for each in request])

    def _one(self, request: Any) -> dict[str, Any]:
        request_id = request.get("id") if isinstance(request, dict) else None
        if not isinstance(request_id, str | int | None):
            request_id = None
        try:
            return {"jsonrpc": "2.0", "result": self._call(request), "id": request_id}
        except RpcError as error:
            return _failure(request_id, error)
        except Silence:
            raise
        except Exception:
            log.exception("a call failed", extra={"method": str(request.get("method"))[:64]})
            return _failure(request_id, RpcError(Code.INTERNAL_ERROR, "Internal error: see the chain's log"))

    def _call(self, request: Any) -> Any:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            raise RpcError(Code.INVALID_REQUEST, "Invalid request")
        method = self._table.get(request["method"])
        if method is None:
            raise RpcError(Code.METHOD_NOT_FOUND, "Method not found")
        params = Params(request.get("params"))
        with self._chain.lock:
            if self._chain.closed:
                raise RpcError(Code.NODE_UNHEALTHY, "Node is unhealthy: the local chain is stopping")
            return method(params)


def _failure(request_id: str | int | None, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": error.body(), "id": request_id}


def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
