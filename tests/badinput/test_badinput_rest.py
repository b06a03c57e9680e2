"""A wrong request over REST is answered by a problem with a code, a place and a remedy, and changes no row."""

from dataclasses import replace

import pytest
from market_at_hand import MarketAtHand
from portal_world import SPEC
from rest_cases import JOBS, KEY, TABLE
from wrong import Asked


@pytest.mark.parametrize("group", TABLE)
def test_every_wrong_request_is_refused_as_it_says(market: MarketAtHand, group: str) -> None:
    amiss = {}
    with market.unchanged():
        for name, asked in TABLE[group].items():
            answer = market.ask(asked)
            problem = answer.json() if "json" in answer.headers.get("content-type", "") else answer.text
            found = asked.amiss(answer.status_code, answer.headers.get("content-type", ""), problem)
            if not found and problem["request_id"] != answer.headers["x-request-id"]:
                found = "the request has two numbers"
            if found:
                amiss[name] = found
        assert not amiss, "\n".join(f"{name}: {found}" for name, found in amiss.items())


def test_what_is_refused_leaves_its_key_free(market: MarketAtHand) -> None:
    for number, case in enumerate(case for case in JOBS.values() if case.headers == KEY and case.by == "customer"):
        key = {"Idempotency-Key": f"free-{number}"}
        refused = market.ask(replace(case, headers=key))
        assert refused.status_code == case.status
        right = Asked(201, "", "POST", "/v1/jobs", {"spec": SPEC}, headers=key)
        assert market.ask(right).status_code == 201, case


def test_what_is_foreign_looks_like_what_never_was(market: MarketAtHand) -> None:
    def seen(path: str) -> tuple[int, dict[str, object]]:
        answer = market.ask(Asked(404, "not_found", "GET", path))
        return answer.status_code, {**answer.json(), "request_id": ""}

    for rest in ("", "/cost", "/receipt", "/outputs", "/logs", "/events"):
        assert seen(f"/v1/jobs/{{foreign_job}}{rest}") == seen(f"/v1/jobs/{{no_job}}{rest}"), rest


def test_a_length_is_looked_at_before_the_body(market: MarketAtHand) -> None:
    """A body that says no length is counted as it comes: see test_problems."""
    headers = {"Authorization": f"Bearer {market.tokens['customer']}", "Content-Type": "application/json"}
    lengths = {"9" * 40: 413, "1000001": 413, "-1": 400, "\u00b2": 400, "1e3": 400, "0x10": 400, "": 400}
    for length, status in lengths.items():
        said = headers | {"Content-Length": length}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in said.items()]
        answer = market.client.request("POST", "/v1/jobs/plan", content=b"{}", headers=raw)
        code = "too_large" if status == 413 else "malformed_request"
        assert (answer.status_code, answer.json()["code"]) == (status, code), length
