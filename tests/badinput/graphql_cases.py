"""Wrong documents and variables over GraphQL: what `extensions` must say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal_world import SPEC

SUBMIT = "mutation ($input: SubmitJobInput!) { submitJob(input: $input) { job { jobId } } }"
PLAIN = "{ __typename }"


@dataclass(frozen=True)
class Document:
    """code: of the first error; where: a pointer or parameter it names; path: of the field that failed."""

    code: str
    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    where: str | None = None
    meant: str = ""
    by: str = "customer"
    path: str | None = None


def submit(code: str, where: str | None = None, meant: str = "", **given: Any) -> Document:
    """A submission with such an input."""
    return Document(code, SUBMIT, {"input": given}, where, meant)


QUERIES = {
    "an empty one": Document("invalid_query", " "),
    "a brace too few": Document("invalid_query", "{ jobs"),
    "a field that is unknown": Document("invalid_query", "{ jbos { edges { cursor } } }"),
    "a selection that is missing": Document("invalid_query", "{ jobs }"),
    "an argument that is missing": Document("invalid_query", "{ job { jobId } }"),
    "an argument of another type": Document("invalid_query", '{ jobs(first: "ten") { edges { cursor } } }'),
    "an argument beyond 32 bits": Document("invalid_query", "{ jobs(first: 99999999999) { edges { cursor } } }"),
    "an enum that is none": Document("invalid_query", "{ offers(where: {unit: TPU}) { model } }"),
    "a variable that nobody declared": Document("invalid_query", "{ job(jobId: $id) { jobId } }"),
    "a fragment that leads to itself": Document("invalid_query", "{ ...A } fragment A on Query { ...A }"),
    "an operation of another kind": Document("invalid_query", "mutation { offers { model } }"),
    "control characters": Document("invalid_query", "{ \x01 }"),
    "far too deep": Document("query_too_large", "{ jobs { edges { node { " + "attempts { " * 9 + "number" + " }" * 9 + " } } } }"),
    "far too long": Document("query_too_large", PLAIN + " " * 20_001),
    "far too many aliases": Document("query_too_large", "{" + " ".join(f"a{n}: __typename" for n in range(16)) + "}"),
}  # fmt: skip

VARIABLES = {
    "none at all": Document("invalid_input", SUBMIT, {}, "/variables/input"),
    "a number": Document("invalid_input", SUBMIT, {"input": 5}, "/variables/input"),
    "null": Document("invalid_input", SUBMIT, {"input": None}, "/variables/input"),
    "a key that is a number": submit("invalid_input", "/variables/input/idempotencyKey", spec=SPEC, idempotencyKey=5),
    "a key that is missing": submit("invalid_input", "/variables/input/idempotencyKey", spec=SPEC),
    "a name that is mistyped": submit(
        "invalid_input", "/variables/input/idempotencyKeyy", "idempotencyKey", spec=SPEC, idempotencyKey="k", idempotencyKeyy="k"
    ),
    "an empty key": submit("invalid_input", "/variables/input/idempotencyKey", spec=SPEC, idempotencyKey=""),
    "a key without end": submit("invalid_input", "/variables/input/idempotencyKey", spec=SPEC, idempotencyKey="k" * 256),
    "a specification of text": submit("invalid_input", "/spec", spec="run: x", idempotencyKey="k"),
    "a hash that is none": submit("invalid_input", "/workdir_sha256", spec=SPEC, idempotencyKey="k", workdirSha256="x"),
    "a page of nothing": Document("invalid_input", "{ jobs(first: 0) { edges { cursor } } }", where="first"),
    "a page of everything": Document("invalid_input", "{ jobs(first: 1000) { edges { cursor } } }", where="first"),
    "a cursor of one's own": Document("invalid_input", '{ jobs(after: "abc") { edges { cursor } } }', where="cursor"),
    "GPUs that are none": Document("invalid_input", '{ offers(where: {gpu: "??"}) { model } }', where="gpu"),
    "a figure that is none": Document(
        "invalid_input", '{ offers(where: {atLeast: ["disk_reed=1GB"]}) { model } }', where="at_least"
    ),
    "a price that is none": Document("invalid_input", '{ offers(where: {maxPrice: "x"}) { model } }', where="max_price"),
}  # fmt: skip

JOBS = {
    "a foreign job": Document("not_found", '{ job(jobId: "{foreign_job}") { jobId } }', path="job"),
    "a job that never was": Document("not_found", '{ job(jobId: "{no_job}") { jobId } }', path="job"),
    "an id that is none": Document("not_found", "{ job(jobId: 1) { jobId } }", path="job"),
    "an id with NUL": Document("not_found", 'query ($id: ID!) { job(jobId: $id) { jobId } }', {"id": "job_%00"}, path="job"),
    "stopping a foreign job": Document("not_found", 'mutation { stopJob(jobId: "{foreign_job}") { job { jobId } } }', path="stopJob"),
    "a viewer that submits": Document("forbidden", SUBMIT, {"input": {"spec": SPEC, "idempotencyKey": "k"}}, by="viewer", path="submitJob"),
    "without the money": Document("insufficient_funds", SUBMIT, {"input": {"spec": SPEC, "idempotencyKey": "k"}}, by="poor", path="submitJob"),
    "a key of another body": submit("idempotency_key_reused", spec={**SPEC, "run": "other"}, idempotencyKey="first"),
    "what nobody offers": submit("no_offer", spec={**SPEC, "resources": {"gpu": "H100:64"}}, idempotencyKey="k"),
    "a field that is mistyped": submit("invalid_spec", "/spec/runn", "run", spec={**SPEC, "runn": "x"}, idempotencyKey="k"),
    "a field deep inside": submit("invalid_spec", "/spec/resources/memroy", "memory", spec={**SPEC, "resources": {"memroy": 1}}, idempotencyKey="k"),
    "a field that is not there yet": submit("invalid_spec", "/spec/image", spec={**SPEC, "image": "x"}, idempotencyKey="k"),
    "an empty specification": submit("invalid_spec", "/spec/run", spec={}, idempotencyKey="k"),
    "a specification that is a list": submit("invalid_input", "/spec", spec=[], idempotencyKey="k"),
    "an archive that was never announced": submit("not_found", spec=SPEC, idempotencyKey="k", workdirSha256="a" * 64),
}  # fmt: skip

TABLE = {"queries": QUERIES, "variables": VARIABLES, "jobs": JOBS}

POST = "application/json"
REQUESTS: Mapping[str, tuple[int, str, str, bytes]] = {
    "no JSON": (400, "malformed_body", POST, b"{"),
    "a number": (400, "malformed_body", POST, b"5"),
    "NaN": (400, "malformed_body", POST, b'{"query": "{ __typename }", "variables": {"a": NaN}}'),
    "a key twice": (400, "malformed_body", POST, b'{"query": "a", "query": "b"}'),
    "no UTF-8": (400, "malformed_body", POST, b'{"query": "\xff"}'),
    "brackets": (400, "malformed_body", POST, b"[" * 100_000),
    "a batch": (400, "malformed_body", POST, b'[{"query": "{ __typename }"}]'),
    "no query": (400, "malformed_body", POST, b"{}"),
    "a query of numbers": (400, "malformed_body", POST, b'{"query": 5}'),
    "variables in a list": (400, "malformed_body", POST, b'{"query": "{ __typename }", "variables": []}'),
    "an operation that is not there": (400, "malformed_body", POST, b'{"query": "{ __typename }", "operationName": "A"}'),
    "two operations and no name": (400, "malformed_body", POST, b'{"query": "query A { __typename } query B { __typename }"}'),
    "a subscription": (400, "malformed_body", POST, b'{"query": "subscription { jobChanged(jobId: 1) { jobId } }"}'),
    "NUL in a variable": (422, "invalid_input", POST, b'{"query": "{ __typename }", "variables": {"a": "\\u0000"}}'),
    "a form": (415, "unsupported_media_type", "application/x-www-form-urlencoded", b"query=x"),
    "a file": (415, "unsupported_media_type", "multipart/form-data; boundary=x", b"--x--"),
    "text": (415, "unsupported_media_type", "text/plain", b"{ __typename }"),
    "a megabyte": (413, "too_large", POST, b" " * 1_000_001),
}  # fmt: skip

SOCKET = {
    "no JSON": "{",
    "a number": "5",
    "a list": "[]",
    "an unknown type": '{"type": "frob"}',
    "a type that is a list": '{"type": []}',
    "no type": "{}",
    "an operation before its greeting": '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}}',
    "a payload of another shape": '{"type": "connection_init", "payload": 5}',
    "a greeting without a token": '{"type": "connection_init", "payload": {}}',
    "a token that is a number": '{"type": "connection_init", "payload": {"authorization": 5}}',
    "a token that is none": '{"type": "connection_init", "payload": {"authorization": "Bearer gbc_x"}}',
    "brackets": "[" * 20_000,
}
"""First messages on a websocket: each closes it."""

AFTER_GREETING = {
    "no payload": '{"type": "subscribe", "id": "1"}',
    "a payload that is a list": '{"type": "subscribe", "id": "1", "payload": []}',
    "an id that is a list": '{"type": "subscribe", "id": [], "payload": {"query": "{ __typename }"}}',
    "an id that is missing": '{"type": "subscribe", "payload": {"query": "{ __typename }"}}',
    "ending what never began": '{"type": "complete"}',
    "a second greeting": '{"type": "connection_init"}',
    "a query that is a number": '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
    "variables that are a list": '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": [1]}}',
}
"""Later messages: each closes the socket or is answered by an error."""
