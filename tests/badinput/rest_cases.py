"""Wrong requests over REST: (status, code, method, path, body), and what the problem must name."""

from typing import Any

from portal_world import SPEC
from wrong import Asked, Table

SHA = "a" * 64
PLAN = "/v1/jobs/plan"
KEY = {"Idempotency-Key": "k"}
NUL, LONE = "\0", "\ud800"


def spec(where: str, meant: str = "", **fields: Any) -> Asked:
    """A plan of a job with such fields; everything that is wrong with a specification is wrong in the same way."""
    return Asked(422, "invalid_spec", "POST", PLAN, {"spec": {**SPEC, **fields}}, f"/spec{where}", meant)


def malformed(body: bytes, says: str = "") -> Asked:
    return Asked(400, "malformed_body", "POST", PLAN, body, says=says)


def plan(body: Any, where: str = "", meant: str = "") -> Asked:
    """A body that is JSON and no request."""
    return Asked(422, "invalid_input", "POST", PLAN, body, where, meant)


def wrong(method: str, path: str, body: Any = None, where: str | None = None, meant: str = "", **more: Any) -> Asked:
    return Asked(422, "invalid_input", method, path, body, where, meant, **more)


def missing(path: str, **more: Any) -> Asked:
    return Asked(404, "not_found", "GET", path, **more)


def gone(method: str, path: str, body: Any = None, **more: Any) -> Asked:
    return Asked(404, "not_found", method, path, body, **more)


def token(authorization: str) -> Asked:
    return Asked(401, "unauthenticated", "GET", "/v1/me", by="", headers={"Authorization": authorization})


def event(last: str) -> Asked:
    path = "/v1/jobs/{job}/logs?follow=false"
    return Asked(422, "invalid_input", "GET", path, where="Last-Event-ID", headers={"Last-Event-ID": last})


def typed(media_type: str, body: Any) -> Asked:
    return Asked(415, "unsupported_media_type", "POST", PLAN, body, headers={"Content-Type": media_type})


BODIES = {
    "nothing at all": plan(b"", ""),
    "an open brace": malformed(b"{", "line 1, column 2"),
    "a comma too many": malformed(b'{"spec": {\n"run": "x",\n}}', "line 3"),
    "single quotes": malformed(b"{'spec': 1}", "line 1, column 2"),
    "two documents": malformed(b"{} {}", "line 1, column 4"),
    "no UTF-8": malformed(b'{"spec": "\xff"}', "byte 10"),
    "UTF-16": malformed('{"spec": {}}'.encode("utf-16"), "UTF-8"),
    "a byte order mark": malformed(b"\xef\xbb\xbf{}", "BOM"),
    "NaN": malformed(b'{"spec": {"run": NaN}}', "NaN"),
    "Infinity": malformed(b'{"spec": {"run": -Infinity}}', "Infinity"),
    "a number beyond doubles": malformed(b'{"spec": {"run": 1e999}}', "1e999"),
    "an integer of 5000 digits": malformed(b'{"spec": ' + b"9" * 5000 + b"}", "digits"),
    "a key twice": malformed(b'{"spec": {"run": "a", "run": "b"}}', "`run`"),
    "a thousand brackets": malformed(b"[" * 1000, "64 levels"),
    "a hundred thousand brackets": malformed(b"[" * 100_000, "64 levels"),
    "65 lists in each other": malformed(b"[" * 65 + b"]" * 65, "64 levels"),
    "a list": plan([], ""),
    "a text": plan("spec", ""),
    "null": plan(b"null", ""),
    "an empty mapping": plan({}, "/spec"),
    "a specification of text": plan({"spec": "run: x"}, "/spec"),
    "a field too many": plan({"spec": SPEC, "workdir_sha": SHA}, "/workdir_sha", "workdir_sha256"),
    "NUL in a text": plan({"spec": {"run": NUL}}, "/spec/run"),
    "NUL in a key": plan({"spec": {NUL: 1}}, "/spec"),
    "half a surrogate pair": plan({"spec": {"env": {"A": LONE}}}, "/spec/env/A"),
    "a body of a megabyte too much": Asked(413, "too_large", "POST", PLAN, b" " * 1_000_001),
}  # fmt: skip

TYPES_OF_BODIES = {
    "a form": typed("application/x-www-form-urlencoded", b"a=b"),
    "text": typed("text/plain", {}),
    "YAML": typed("application/yaml", b"run: x"),
    "a type that is none": typed("?", {}),
    "an answer as XML": Asked(406, "not_acceptable", "GET", "/v1/jobs", headers={"Accept": "application/xml"}),
    "no answer as JSON": Asked(406, "not_acceptable", "GET", "/v1/jobs", headers={"Accept": "application/json;q=0, text/html"}),
    "events as JSON": Asked(406, "not_acceptable", "GET", "/v1/jobs/{job}/events", headers={"Accept": "application/json"}),
}  # fmt: skip

ADDRESSES = {
    "an unknown address": Asked(404, "no_such_route", "GET", "/v1/nothing"),
    "a slash too many": Asked(404, "no_such_route", "GET", "/v1/jobs/"),
    "capital letters": Asked(404, "no_such_route", "GET", "/V1/JOBS"),
    "a wrong method": Asked(405, "method_not_allowed", "PATCH", "/v1/jobs"),
    "a method of one's own": Asked(405, "method_not_allowed", "FROB", "/v1/jobs"),
    "deleting a job": Asked(405, "method_not_allowed", "DELETE", "/v1/jobs/{job}"),
    "a foreign job": missing("/v1/jobs/{foreign_job}"),
    "a job that never was": missing("/v1/jobs/{no_job}"),
    "stopping a foreign job": gone("POST", "/v1/jobs/{foreign_job}/stop"),
    "the log of a foreign job": missing("/v1/jobs/{foreign_job}/logs"),
    "the cost of a foreign job": missing("/v1/jobs/{foreign_job}/cost"),
    "an id that is none": missing("/v1/jobs/1"),
    "an id of another kind": missing("/v1/jobs/{node}"),
    "an id in small letters": missing("/v1/jobs/job_01kadz3v3b0000000000000001"),
    "an id with a line break": missing("/v1/jobs/{job}%0A"),
    "an id with NUL": missing("/v1/jobs/{job}%00"),
    "a path that climbs": missing("/v1/jobs/..%2f..%2fetc%2fpasswd%00/cost".replace("%2f", "%5C")),
    "an id in Cyrillic": missing("/v1/jobs/j%D0%BEb_01KADZ3V3B0000000000000001"),
    "an id that is no UTF-8": missing("/v1/jobs/%FF%FE"),
    "an id of ten thousand letters": missing(f"/v1/jobs/{'A' * 10_000}"),
    "a deposit that never was": missing("/v1/deposits/dep_1"),
    "a withdrawal that never was": missing("/v1/withdrawals/wdr_1"),
    "a withdrawal to cancel that never was": gone("POST", "/v1/withdrawals/wdr_1/cancel"),
    "a token that never was": gone("DELETE", "/v1/tokens/tok_%00"),
    "a node that never was": gone("PUT", "/provider/v1/nodes/x/price", {"unit": "cpu", "price_microusd_per_unit_hour": 1}, by="provider"),
    "a secret that never was": gone("DELETE", "/v1/secrets/NEVER"),
    "a secret whose name holds NUL": wrong("DELETE", "/v1/secrets/A%00"),
    "a token whose id holds NUL": gone("DELETE", "/v1/tokens/tok_01KADZ3V3B000000000000000%00"),
    "an epoch that is no number": wrong("GET", "/ops/v1/epochs/first", where="epoch", by="operator"),
    "an epoch beyond 53 bits": wrong("GET", f"/ops/v1/epochs/{2**53}", where="epoch", by="operator"),
    "an epoch that is not closed": missing("/ops/v1/epochs/7", by="operator"),
    "an attempt that never was": missing("/agent/v1/attempts/att_x/order", by="agent"),
}  # fmt: skip

PARAMETERS = {
    "a parameter that is unknown": wrong("GET", "/v1/jobs?limt=5", where="limt", meant="limit"),
    "a parameter where there are none": wrong("GET", "/v1/me?verbose=1", where="verbose"),
    "a parameter twice": wrong("GET", "/v1/jobs?limit=1&limit=2", where="limit"),
    "a limit of nothing": wrong("GET", "/v1/jobs?limit=0", where="limit"),
    "a limit below nothing": wrong("GET", "/v1/jobs?limit=-1", where="limit"),
    "a limit of everything": wrong("GET", "/v1/jobs?limit=100000000000000000000", where="limit"),
    "a limit in words": wrong("GET", "/v1/jobs?limit=ten", where="limit"),
    "a limit in Arabic digits": wrong("GET", "/v1/jobs?limit=%D9%A3", where="limit"),
    "a state that is none": wrong("GET", "/v1/jobs?state=runing", where="state/0", meant="running"),
    "a cursor of one's own": wrong("GET", "/v1/jobs?cursor=abc", where="cursor"),
    "a cursor of another shape": wrong("GET", "/v1/jobs?cursor=WzFd", where="cursor"),
    "a cursor before time began": wrong("GET", "/v1/jobs?cursor=WyIwMDAxLTAxLTAxIiwieCJd", where="cursor"),
    "a cursor with NUL": wrong("GET", "/v1/jobs?cursor=%00", where="cursor"),
    "a cursor with half a character": wrong("GET", "/v1/jobs?cursor=WyIyMDI2LTAxLTAxVDAwOjAwOjAwKzAwOjAwIiwiXHVkODAwIl0"),
    "a cursor without end": wrong("GET", f"/v1/jobs?cursor={'A' * 300}", where="cursor"),
    "GPUs that are none": wrong("GET", "/v1/offers?gpu=%3F%3F", where="gpu"),
    "a price that is none": wrong("GET", "/v1/offers?max_price=cheap", where="max_price"),
    "a price in other digits": wrong("GET", "/v1/offers?max_price=%D9%A3", where="max_price"),
    "a figure that is none": wrong("GET", "/v1/offers?at_least=disk_read=fast", where="at_least"),
    "a figure of nothing known": wrong("GET", "/v1/offers?at_least=disk_reed=1GB", where="at_least", meant="disk_read"),
    "an order that is none": wrong("GET", "/v1/offers?sort=worth", where="sort", meant="work"),
    "a unit that is none": wrong("GET", "/v1/offers?unit=gpuu", where="unit", meant="gpu"),
    "a truth that is none": wrong("GET", "/v1/offers?simulated=perhaps", where="simulated"),
    "an event's id that is none": event("1:-1"),
    "an event's id in words": event("the last"),
    "an event's id without end": event("9" * 500),
}  # fmt: skip

CREDENTIALS = {
    "none": Asked(401, "unauthenticated", "GET", "/v1/me", by=""),
    "none, for a job that is there": Asked(401, "unauthenticated", "GET", "/v1/jobs/{job}", by=""),
    "an empty one": token("Bearer "),
    "another scheme": token("Basic dXNlcjpwYXNz"),
    "one that is mistyped": token(f"Bearer gbc_{'A' * 38}"),
    "one that is no ASCII": token("Bearer gbc_\xe9\xff"),
    "one of a megabyte": token("Bearer " + "x" * 1_000_000),
    "an expired one": Asked(401, "unauthenticated", "GET", "/v1/me", by="expired"),
    "a revoked one": Asked(401, "unauthenticated", "GET", "/v1/me", by="revoked"),
    "a provider's": Asked(403, "forbidden", "GET", "/v1/jobs", by="provider"),
    "a customer's for a provider": Asked(403, "forbidden", "GET", "/provider/v1/nodes"),
    "a customer's for the operator": Asked(403, "forbidden", "POST", "/ops/v1/epochs"),
    "a viewer's that submits": Asked(403, "forbidden", "POST", "/v1/jobs", {"spec": SPEC}, by="viewer", headers=KEY),
    "a viewer's that makes tokens": Asked(403, "forbidden", "POST", "/v1/tokens", {"name": "t", "role": "owner"}, by="viewer"),
    "a join token without the key": Asked(403, "forbidden", "POST", "/agent/v1/nodes", {
        "public_key": SHA, "possession": "b" * 128, "name": "n", "inventory": {
            "hostname": "h", "cpu_milli": 1000, "memory_bytes": 1, "disk_bytes": 1, "sandbox": "bubblewrap", "agent_version": "1"},
    }, by="joiner"),
    "a report that nobody signed": Asked(403, "bad_signature", "POST", "/agent/v1/reports", b"{}", by="agent", headers={"Gridbay-Signature": "0" * 128}),
    "a report without a signature": wrong("POST", "/agent/v1/reports", b"{}", where="Gridbay-Signature", by="agent"),
    "a signature that is none": Asked(403, "bad_signature", "POST", "/agent/v1/reports", b"{}", by="agent", headers={"Gridbay-Signature": "\xe9"}),
}  # fmt: skip

JOBS = {
    "without a key": Asked(400, "idempotency_key_missing", "POST", "/v1/jobs", {"spec": SPEC}),
    "with an empty key": Asked(400, "idempotency_key_missing", "POST", "/v1/jobs", {"spec": SPEC}, headers={"Idempotency-Key": ""}),
    "with a key without end": wrong("POST", "/v1/jobs", {"spec": SPEC}, where="Idempotency-Key", headers={"Idempotency-Key": "k" * 256}),
    "with a key of another body": Asked(422, "idempotency_key_reused", "POST", "/v1/jobs", {"spec": {**SPEC, "run": "other"}}, headers={"Idempotency-Key": "first"}),
    "without the money": Asked(402, "insufficient_funds", "POST", "/v1/jobs", {"spec": SPEC}, by="poor", headers=KEY),
    "that nobody offers": Asked(409, "no_offer", "POST", "/v1/jobs", {"spec": {**SPEC, "resources": {"gpu": "H100:64"}}}, headers=KEY),
    "larger than any node": Asked(409, "no_offer", "POST", PLAN, {"spec": {**SPEC, "resources": {"cpu": 4000}}}),
    "with a secret that is not stored": wrong("POST", "/v1/jobs", {"spec": {**SPEC, "secrets": ["A"]}}, "/spec/secrets/0", headers=KEY),
    "with a folder that was not sent": Asked(422, "invalid_spec", "POST", "/v1/jobs", {"spec": {**SPEC, "workdir": "."}}, "/workdir_sha256", headers=KEY),
    "with an archive that was never announced": gone("POST", "/v1/jobs", {"spec": SPEC, "workdir_sha256": SHA}, headers=KEY),
    "with a hash in capitals": wrong("POST", "/v1/jobs", {"spec": SPEC, "workdir_sha256": SHA.upper()}, "/workdir_sha256", headers=KEY),
    "with less money than a second costs": plan({"spec": {**SPEC, "budget": {"max_total": "0.000001"}}}, "/spec/budget/max_total"),
    "a field that is unknown": spec("/runn", "run", runn="x"),
    "a field that is not there yet": spec("/image", image="ubuntu"),
    "a service": spec("/kind", "job", kind="service"),
    "another version": spec("/apiVersion", "gridbay/v1", apiVersion="gridbay/v2"),
    "a command that is a number": spec("/run", run=5),
    "a command that is true": spec("/run", run=True),
    "an empty command": spec("/run", run=""),
    "a command of 40 kB": spec("/run", run="x" * 40_000),
    "a name in capitals": spec("/name", name="Digits"),
    "a name in Cyrillic": spec("/name", name="\u0430bc"),
    "a variable that begins with a digit": spec("/env/1A", env={"1A": "x"}),
    "a variable of ours": spec("/env/GRIDBAY_JOB_ID", env={"GRIDBAY_JOB_ID": "x"}),
    "a variable with a slash": spec("/env/A~1B", env={"A/B": "x"}),
    "a variable that is true": spec("/env/A", env={"A": True}),
    "variables in a list": spec("/env", env=["A=1"]),
    "101 variables": spec("/env", env={f"A{n}": "x" for n in range(101)}),
    "a secret's name that is none": spec("/secrets/0", secrets=["a-b"]),
    "a resource that is unknown": spec("/resources/memroy", "memory", resources={"memroy": "1GB"}),
    "a resource that is not there yet": spec("/resources/nodes", resources={"nodes": 2}),
    "resources in a list": spec("/resources", resources=[]),
    "no CPU": spec("/resources/cpu", resources={"cpu": 0}),
    "less than no CPU": spec("/resources/cpu", resources={"cpu": -1}),
    "more CPUs than there are": spec("/resources/cpu", resources={"cpu": 10**9}),
    "a CPU in other digits": spec("/resources/cpu", resources={"cpu": "\u0663"}),
    "a CPU of 5000 letters": spec("/resources/cpu", resources={"cpu": "x" * 5000}),
    "half a GPU": spec("/resources/gpu", resources={"gpu": 0.5}),
    "65 GPUs": spec("/resources/gpu", resources={"gpu": 65}),
    "a GPU squared": spec("/resources/gpu", resources={"gpu": "\u00b2"}),
    "GPUs of 5000 digits": spec("/resources/gpu", resources={"gpu": "9" * 5000}),
    "an empty range of GPUs": spec("/resources/gpu", resources={"gpu": "48GB..24GB"}),
    "memory in gigabits": spec("/resources/memory", resources={"memory": "16 GBB"}),
    "memory beyond all": spec("/resources/memory", resources={"memory": "9999 TB"}),
    "memory in a mapping": spec("/resources/memory", resources={"memory": {"GB": 1}}),
    "disk below nothing": spec("/resources/disk", resources={"disk": "-1GB"}),
    "a price below nothing": spec("/budget/max_price", budget={"max_price": -1}),
    "a price of seven decimals": spec("/budget/max_price", budget={"max_price": "0.1234567"}),
    "a price with a comma": spec("/budget/max_price", budget={"max_price": "0,42"}),
    "a budget beyond all": spec("/budget/max_total", budget={"max_total": 1e300}),
    "a budget that is nothing": spec("/budget", budget=None),
    "a duration in weeks": spec("/max_duration", max_duration="3 weeks"),
    "a duration of nothing": spec("/max_duration", max_duration=0),
    "a duration of a year": spec("/max_duration", max_duration="365d"),
    "a retry that is unknown": spec("/retry/on/0", "failure", retry={"on": ["failur"]}),
    "no attempt at all": spec("/retry/max_attempts", retry={"max_attempts": 0}),
    "an output outside": spec("/outputs/0/path", outputs=["../../etc/passwd"]),
    "an output at the root": spec("/outputs/1/path", outputs=["a", "/etc/passwd"]),
    "an output of another shape": spec("/outputs/0/pth", "path", outputs=[{"pth": "a"}]),
    "51 outputs": spec("/outputs", outputs=["a"] * 51),
}  # fmt: skip

OTHERS = {
    "an archive of nothing": wrong("POST", "/v1/workdirs", {"sha256": SHA, "size_bytes": 0}, "/size_bytes"),
    "an archive beyond the bound": wrong("POST", "/v1/workdirs", {"sha256": SHA, "size_bytes": 2**40}, "/size_bytes"),
    "an archive with another hash": wrong("POST", "/v1/workdirs", {"sha256": "md5", "size_bytes": 1}, "/sha256"),
    "an archive whose field is unknown": wrong("POST", "/v1/workdirs", {"sha256": SHA, "size_byte": 1}, "/size_byte", "size_bytes"),
    "a deposit of nothing": wrong("POST", "/v1/deposits", {"amount_microusd": 0}, "/amount_microusd", headers=KEY),
    "a deposit below nothing": wrong("POST", "/v1/deposits", {"amount_microusd": -5}, "/amount_microusd", headers=KEY),
    "a deposit in fractions": wrong("POST", "/v1/deposits", {"amount_microusd": 0.5}, "/amount_microusd", headers=KEY),
    "a deposit beyond all money": wrong("POST", "/v1/deposits", {"amount_microusd": 10**30}, "/amount_microusd", headers=KEY),
    "a deposit without a key": Asked(400, "idempotency_key_missing", "POST", "/v1/deposits", {"amount_microusd": 5}),
    "a withdrawal of nothing": wrong("POST", "/v1/withdrawals", {"amount_microusd": 0, "wallet_address": "x"}, "/amount_microusd", headers=KEY),
    "a withdrawal to nowhere": wrong("POST", "/v1/withdrawals", {"amount_microusd": 10**6, "wallet_address": "x"}, "/wallet_address", headers=KEY),
    "a withdrawal below what is sent": wrong("POST", "/v1/withdrawals", {"amount_microusd": 1, "wallet_address": "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"}, "/amount_microusd", headers=KEY),
    "an allowance that keeps less than nothing": wrong("PUT", "/v1/allowance", {"keep_microusd": -1}, "/keep_microusd"),
    "an allowance that keeps a market": wrong("PUT", "/v1/allowance", {"keep_microusd": 10**15}, "/keep_microusd"),
    "an allowance of nothing a day": wrong("PUT", "/v1/allowance", {"keep_microusd": 1, "daily_max_microusd": 0}, "/daily_max_microusd"),
    "an approval that is no signature": wrong("POST", "/v1/allowance/approval", {"signature": "x\u0000"}, "/signature"),
    "a withdrawal without a key": Asked(400, "idempotency_key_missing", "POST", "/v1/withdrawals", {"amount_microusd": 10**6, "wallet_address": "x"}),
    "a role that is none": wrong("POST", "/v1/tokens", {"name": "t", "role": "ownr"}, "/role", "owner"),
    "a scope that is none": wrong("POST", "/v1/tokens", {"name": "t", "role": "owner", "scopes": ["jobs:rea"]}, "/scopes/0", "jobs:read"),
    "a token that lasts too long": wrong("POST", "/v1/tokens", {"name": "t", "role": "viewer", "expires_in_days": 10**12}, "/expires_in_days"),
    "a token without a name": wrong("POST", "/v1/tokens", {"role": "viewer"}, "/name"),
    "a token with NUL in its name": wrong("POST", "/v1/tokens", {"name": NUL, "role": "viewer"}, "/name"),
    "an empty secret": wrong("PUT", "/v1/secrets/A", {"value": ""}, "/value"),
    "a secret that is too long": wrong("PUT", "/v1/secrets/A", {"value": "x" * 32_769}, "/value"),
    "a secret under no name": wrong("PUT", "/v1/secrets/1A", {"value": "x"}, "name"),
    "a secret's name with a line break": wrong("PUT", "/v1/secrets/A%0A", {"value": "x"}, "name"),
    "a wallet that is none": wrong("PUT", "/provider/v1/wallet", {"wallet_address": "0x00"}, "/wallet_address", by="provider"),
    "a wallet with letters that look alike": wrong("PUT", "/provider/v1/wallet", {"wallet_address": "\u0410" * 44}, "/wallet_address", by="provider"),
    "a price below nothing": wrong("PUT", "/provider/v1/nodes/{node}/price", {"unit": "cpu", "price_microusd_per_unit_hour": -1}, "/price_microusd_per_unit_hour", by="provider"),
    "a unit that is none": wrong("PUT", "/provider/v1/nodes/{node}/price", {"unit": "tpu", "price_microusd_per_unit_hour": 1}, "/unit", by="provider"),
    "a thousand and one machines": wrong("POST", "/provider/v1/join-tokens", {"uses": 1001}, "/uses", by="provider"),
    "a poll of another shape": wrong("POST", "/agent/v1/poll", {"boot_id": 5}, "/boot_id", by="agent"),
    "a poll for ever": wrong("POST", "/agent/v1/poll", {"boot_id": "b", "seen_version": 0, "wait_seconds": 1e9, "pool": "ready"}, "/wait_seconds", by="agent"),
    "a pool that is none": wrong("POST", "/agent/v1/poll", {"boot_id": "b", "seen_version": 0, "wait_seconds": 0, "pool": "redy"}, "/pool", "ready", by="agent"),
    "a version beyond 64 bits": wrong("POST", "/agent/v1/poll", {"boot_id": "b", "seen_version": 2**70, "wait_seconds": 0, "pool": "ready"}, "/seen_version", by="agent"),
    "an inventory deep inside": wrong("PUT", "/agent/v1/inventory", {
        "hostname": "h", "cpu_milli": 1, "memory_bytes": 1, "disk_bytes": 1, "sandbox": "x", "agent_version": "1",
        "gpus": [{"uuid": "GPU-1", "index": 0, "model": "x", "memory": 1}]}, "/gpus/0/memory", "memory_bytes", by="agent"),
    "a log below its beginning": wrong("PUT", "/agent/v1/attempts/att_x/log?offset=-1", b"x", "offset", by="agent"),
    "a log of nobody's": gone("PUT", "/agent/v1/attempts/att_x/log?offset=0", b"x", by="agent"),
    "a log's piece that is too large": Asked(413, "too_large", "PUT", "/agent/v1/attempts/att_x/log?offset=0", b"x" * 300_000, by="agent"),
    "outputs that climb": gone("POST", "/agent/v1/attempts/att_x/outputs", {"files": []}, by="agent"),
}  # fmt: skip

TABLE: Table = {
    "bodies": BODIES,
    "types of bodies": TYPES_OF_BODIES,
    "addresses": ADDRESSES,
    "parameters": PARAMETERS,
    "credentials": CREDENTIALS,
    "jobs": JOBS,
    "others": OTHERS,
}
