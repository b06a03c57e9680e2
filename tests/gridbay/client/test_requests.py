"""The SDK asks safely: an intent is done once, refusals come back as types, the credential stays with the market."""

import socket
from collections.abc import Iterator

import pytest
from served_market import Answer, Seen, ServedMarket, problem
from views import JOB_ID, job, offer, plan

from gridbay.client import Gridbay
from gridbay.client.refusals import NotAMarket
from gridbay.client.transport import Transport
from market.customer_api import Page
from market.errors import Conflict, FieldError, InsufficientFunds, InvalidInput, MarketError, NotFound, Unavailable
from market.specs import InvalidSpec

TOKEN = "gbc_test"


@pytest.fixture
def sdk(market: ServedMarket) -> Iterator[Gridbay]:
    with Gridbay(market.url, TOKEN, patience_seconds=5) as sdk:
        yield sdk


def test_a_submit_whose_answer_is_lost_is_repeated_under_its_key_and_done_once(
    market: ServedMarket, sdk: Gridbay
) -> None:
    submitted: dict[str, int] = {}

    def submit(seen: Seen) -> Answer:
        submitted.setdefault(seen.headers["idempotency-key"], len(submitted))
        return Answer(job(), 201)

    market.on("POST /v1/jobs", submit)
    market.lose_answers("POST /v1/jobs", 2)
    assert sdk.submit({"run": "true"}).job_id == JOB_ID
    assert (len(market.asked("POST /v1/jobs")), len(submitted)) == (3, 1)
    sdk.submit({"run": "true"})
    assert len(submitted) == 2, "another call is another intent"


def test_what_might_be_done_twice_is_not_repeated(market: ServedMarket) -> None:
    market.on("POST /provider/v1/join-tokens", Answer({"token": "gbj_x"}))
    market.lose_answers("POST /provider/v1/join-tokens", 1)
    transport = Transport(market.url, TOKEN, patience_seconds=5)
    with pytest.raises(Unavailable, match="does not answer"):
        transport.request("POST", "/provider/v1/join-tokens")
    transport.close()
    assert len(market.asked("POST /provider/v1/join-tokens")) == 1


@pytest.mark.parametrize("busy", [problem(503, "busy", "full"), problem(409, "idempotency_key_in_flight", "wait")])
def test_a_busy_market_is_asked_again_when_it_says(market: ServedMarket, busy: Answer) -> None:
    market.on("POST /v1/jobs", Answer(job(), 201))
    busy.headers["Retry-After"] = "0"
    market.fail_next("POST /v1/jobs", busy, busy)
    heard: list[str] = []
    with Gridbay(market.url, TOKEN, on_retry=heard.append) as sdk:
        assert sdk.submit({"run": "true"}).job_id == JOB_ID
    assert len(heard) == 2


def test_patience_ends(market: ServedMarket) -> None:
    market.on("GET /v1/balance", problem(503, "unavailable", "the database cannot answer right now"))
    with Gridbay(market.url, TOKEN, patience_seconds=0.5) as sdk, pytest.raises(Unavailable, match="database"):
        sdk.balance()
    assert 2 <= len(market.asked("GET /v1/balance")) <= 6


def test_an_open_epoch_is_an_answer_and_not_asked_for_again(market: ServedMarket, sdk: Gridbay) -> None:
    market.on(f"GET /v1/jobs/{JOB_ID}/receipt", problem(503, "unavailable", "the epoch of this bill is not closed yet"))
    with pytest.raises(Unavailable, match="not closed yet"):
        sdk.receipt(JOB_ID)
    assert len(market.seen) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (problem(402, "insufficient_funds", "2.00 needed", remedy="gridbay deposit 2"), InsufficientFunds, None),
        (problem(404, "not_found", "no such job"), NotFound, None),
        (problem(409, "a_code_of_next_year", "later"), Conflict, "a_code_of_next_year"),
        (Answer(b"<html>Bad request</html>", 400), NotAMarket, "not_a_market"),
        (Answer(b"<html>Oops</html>", 500), NotAMarket, "not_a_market"),
        (Answer(b"<html>Welcome</html>", 200), NotAMarket, "not_a_market"),
    ],
)
def test_refusals_are_types(
    market: ServedMarket, sdk: Gridbay, answer: Answer, kind: type[MarketError], code: str | None
) -> None:
    market.on(f"GET /v1/jobs/{JOB_ID}", answer)
    with pytest.raises(kind) as refused:
        sdk.job(JOB_ID)
    assert type(refused.value) is kind
    assert refused.value.code == (code or kind.code)
    if kind is InsufficientFunds:
        assert refused.value.remedy == "gridbay deposit 2"


def test_the_places_of_a_wrong_specification_come_back(market: ServedMarket, sdk: Gridbay) -> None:
    fault = {"pointer": "/resources/gpu", "detail": "shares are not available yet"}
    market.on("POST /v1/jobs/plan", problem(422, "invalid_spec", "wrong", errors=[fault]))
    with pytest.raises(InvalidSpec) as refused:
        sdk.plan({"run": "true", "resources": {"gpu": 0.5}})
    assert refused.value.errors == (FieldError("/resources/gpu", "shares are not available yet"),)


def test_a_market_that_is_not_there_is_told_with_its_url_and_a_remedy() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with Gridbay(url, TOKEN, patience_seconds=0) as sdk, pytest.raises(Unavailable) as refused:
            sdk.me()
    assert url in refused.value.detail
    assert "gridbay up" in refused.value.remedy


@pytest.mark.parametrize("url", ["market.example", "ftp://market.example", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="not a URL"):
        Gridbay(url, TOKEN)


def test_pages_are_read_to_their_end(market: ServedMarket, sdk: Gridbay) -> None:
    pages = {None: ("a", "next"), "next": ("b", None)}

    def offers(seen: Seen) -> Answer:
        name, cursor = pages[seen.query.get("cursor")]
        return Answer(Page(items=[offer(node_name=name)], next_cursor=cursor))

    market.on("GET /v1/offers", offers)
    assert [item.node_name for item in sdk.offers(gpu="24GB..", simulated=False)] == ["a", "b"]
    assert market.seen[0].query == {"gpu": "24GB..", "simulated": "false"}


def test_the_credential_goes_to_the_market(market: ServedMarket, sdk: Gridbay) -> None:
    market.on("POST /v1/jobs/plan", plan())
    assert sdk.plan({"run": "true"}).highest_cost.usdc == "0.003334"
    assert market.seen[0].headers["authorization"] == f"Bearer {TOKEN}"
