"""The OpenAPI document: what FastAPI finds out, with the problems that every operation can answer made explicit."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from market.customer_api import IDEMPOTENCY_HEADER, Problem
from portal_api.problems import PROBLEM_MEDIA_TYPE

DESCRIPTION = (
    "An open GPU compute marketplace. Errors are RFC 9457 problem documents with a stable `code`. "
    "POSTs that spend take an Idempotency-Key. Cursors are opaque. Money is micro-USDC, beside a decimal string."
)
_METHODS = ("get", "put", "post", "delete", "patch")
_MEANINGS = {
    "400": "the request could not be read",
    "401": "no credential, or one that is not good",
    "402": "the balance does not cover the first window",
    "403": "the credential does not permit this",
    "404": "there is no such thing here",
    "409": "it is not possible in the present state",
    "413": "the body is too large",
    "422": "the input is not valid; `errors` names the places",
    "429": "too many at once",
    "500": "a fault of the market's own, recorded under the request's id",
    "503": "something the market needs is away; try again",
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of the application; made once and kept."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, openapi_version="3.1.0"
        )
        schemas = schema["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas["Problem"] = problem
        for path, item in schema["paths"].items():
            for method in _METHODS:
                if method in item:
                    _complete(path, method, item[method])
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["responses"].pop("422", None)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == IDEMPOTENCY_HEADER:
            parameter["required"] = True
    for status in sorted(_statuses(path, method, operation)):
        operation["responses"][status] = {
            "description": _MEANINGS[status],
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _statuses(path: str, method: str, operation: dict[str, Any]) -> set[str]:
    """Which problems an operation can answer."""
    found = {"500", "503"}
    if operation.get("security"):
        found |= {"401", "403"}
    if "{" in path or path in ("/v1/me", "/v1/allowance"):
        found |= {"404"}
    if operation.get("parameters") or operation.get("requestBody"):
        found |= {"422"}
    if method != "get":
        found |= {"400", "404", "409", "413", "422"}
    if any(parameter["name"] == IDEMPOTENCY_HEADER for parameter in operation.get("parameters", ())):
        found |= {"402", "429"}
    if "text/event-stream" in operation["responses"].get("200", {}).get("content", {}):
        found |= {"429"}
    return found
