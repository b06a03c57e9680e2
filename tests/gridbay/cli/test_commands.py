"""Every other command of a customer: what it asks of the market, and what it prints."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from served_market import Answer, Seen, ServedMarket, event, problem
from typed_command import Gridbay
from views import JOB_ID, NOON, cpu_offer, ended_job, job, offer

from market.customer_api import (
    ComponentPricesView,
    ComponentsView,
    CostLine,
    CostView,
    JobView,
    LogLine,
    Money,
    OutputView,
    Page,
)
from market.funds_api import BalanceView, WithdrawalList, WithdrawalView
from market.measured import parse_at_least
from market.states import JobState, Reason

WALLET, WITHDRAWAL_ID = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin", "wdr_01M7ZP6K2Q5QCE0G7WJ295JPVX"
WITHDRAWAL = WithdrawalView(
    withdrawal_id=WITHDRAWAL_ID,
    state="waiting",
    amount=Money.of(1_500_000),
    rent=Money.of(0),
    wallet_address=WALLET,
    created_at=NOON,
    payable_from=NOON + timedelta(days=1),
)
ANSWERS: dict[str, Any] = {
    "GET /v1/jobs": Page(items=[ended_job(3), job()]),
    "GET /v1/jobs/{}": ended_job(3),
    "GET /v1/balance": BalanceView(available=Money.of(4_500_000), held=Money.of(3_334)),
    "GET /v1/jobs/{}/outputs": Answer([OutputView(path="out.txt", size_bytes=12_345, sha256="a" * 64, url="http://x")]),
    "POST /v1/withdrawals": WITHDRAWAL,
    "GET /v1/withdrawals": WithdrawalList(items=[WITHDRAWAL]),
    "GET /v1/withdrawals/{}": WITHDRAWAL,
    "POST /v1/withdrawals/{}/cancel": WITHDRAWAL.model_copy(update={"state": "cancelled"}),
    "GET /v1/secrets": Answer(json.dumps({"names": ["HF_TOKEN"]}).encode()),
    "PUT /v1/secrets/{}": Answer(status=204),
    "DELETE /v1/secrets/{}": Answer(status=204),
    "POST /v1/jobs/{}/stop": job(JobState.STOPPING, Reason.STOPPING_BY_USER),
    "GET /v1/jobs/{}/cost": CostView(
        job_id=JOB_ID,
        total=Money.of(42),
        held=Money.of(0),
        highest_cost=Money.of(3_334),
        lines=[
            CostLine(
                line_id="line_1", attempt_number=1, window_number=0, quantity_milli=1000, run_ms=7_560,
                price_per_unit_hour=Money.of(20_000), amount=Money.of(42), provider_share=Money.of(39),
                fee=Money.of(2), rounding=Money.of(1), epoch=None, captured_at=NOON,
            )
        ],
    ),
}  # fmt: skip


MADE = ComponentsView(
    unit_per_hour=Money.of(200_000), cpu_milli=4000, cpu_per_hour=Money.of(5_000), memory_bytes=16 * 2**30,
    memory_per_gib_hour=Money.of(1_000), disk_bytes=0, disk_per_gib_hour=Money.of(0),
    bid_per_unit_hour=Money.of(150_000),
)  # fmt: skip
MADE_WORDS = "attempt 1: 0.20 the unit, 4 CPUs at 0.005, 16 GiB of memory at 0.001; bid 0.15"


@pytest.fixture
def answering(logged_in: ServedMarket) -> ServedMarket:
    for route, answer in ANSWERS.items():
        logged_in.on(route, answer)
    return logged_in


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("jobs",), [JOB_ID, "digits", "failed", "exit code 3", "amber", "7s", "0.000042", "queued"]),
        (("jobs", "show", JOB_ID), ["failed: exit code 3", "failed:exit_code", "cost       0.000042 USDC"]),
        (("job", "show", JOB_ID), ["ATTEMPT", "amber"]),
        (("balance",), ["available         4.50 USDC", "held for jobs   0.003334 USDC", "on its way out"]),
        (("withdraw", "1.5", "--to", WALLET), [f"{WITHDRAWAL_ID}: 1.50 USDC wait until 2026-11-22", "cancel"]),
        (("withdrawals", "list"), [WITHDRAWAL_ID, "1.50", "waiting", "the wallet is new here"]),
        (("withdrawals", "show", WITHDRAWAL_ID), [WITHDRAWAL_ID, WALLET, "not before 2026-11-22"]),
        (("withdrawals", "cancel", WITHDRAWAL_ID), ["cancelled; 1.50 USDC are available again"]),
        (("cost", JOB_ID), ["7.560", "0.000042", "0.000039", "open", "at most  0.003334 USDC"]),
        (("outputs", JOB_ID), ["out.txt", "12.3 kB"]),
        (("stop", JOB_ID, JOB_ID), [f"{JOB_ID}  stopping: as you asked"]),
        (("secrets", "list"), ["HF_TOKEN"]),
    ],
)
def test_what_it_prints(
    answering: ServedMarket, gridbay: Gridbay, command: tuple[str, ...], expected: list[str]
) -> None:
    ended = gridbay(*command)
    assert (ended.code, ended.err) == (0, "")
    for words in expected:
        assert words in ended.out


@pytest.mark.parametrize(
    ("command", "quiet", "find"),
    [
        (("jobs",), f"{JOB_ID}\n{JOB_ID}\n", lambda value: value[0]["exit_code"] == 3),
        (("job", "show", JOB_ID), f"{JOB_ID}\n", lambda value: value["cost"]["microusd"] == 42),
        (("balance",), "4.50\n", lambda value: value["available"]["usdc"] == "4.50"),
        (("cost", JOB_ID), "0.000042\n", lambda value: value["lines"][0]["run_ms"] == 7_560),
        (("outputs", JOB_ID), "out.txt\n", lambda value: value[0]["size_bytes"] == 12_345),
        (("secrets", "list"), "HF_TOKEN\n", lambda value: value == ["HF_TOKEN"]),
    ],
)
def test_for_programs(
    answering: ServedMarket, gridbay: Gridbay, command: tuple[str, ...], quiet: str, find: Callable[[Any], bool]
) -> None:
    assert gridbay(*command, "-o", "quiet").out == quiet
    assert find(json.loads(gridbay(*command, "-o", "json").out))


def test_jobs_are_narrowed_by_the_market(answering: ServedMarket, gridbay: Gridbay) -> None:
    assert gridbay("jobs", "-n", "1", "--state", "failed", "-o", "quiet").out == f"{JOB_ID}\n"
    assert answering.seen[0].query["state"] == "failed"


def test_a_secret_is_read_from_stdin_and_never_shown(answering: ServedMarket, gridbay: Gridbay) -> None:
    ended = gridbay("secrets", "set", "HF_TOKEN", stdin="hf_s3cret\n")
    assert (ended.code, "s3cret" in ended.out + ended.err) == (0, False)
    assert answering.seen[0].json() == {"value": "hf_s3cret"}
    assert gridbay("secrets", "set", "HF_TOKEN", stdin="").code == 2
    assert "is forgotten" in gridbay("secrets", "remove", "HF_TOKEN").out


@pytest.mark.parametrize("follow", [True, False])
def test_a_log_is_written_as_it_is(logged_in: ServedMarket, gridbay: Gridbay, follow: bool) -> None:
    pieces = [(1, 0, "one\n"), (1, 4, "\x1b[32mtwo\x1b[0m\n"), (2, 0, "again\n")]
    frames = [event("log", LogLine(attempt_number=a, offset=o, text=t), f"{a}:{o + len(t)}") for a, o, t in pieces]
    logged_in.on("GET /v1/jobs/{}/logs", lambda _: Answer(events=[*frames, event("end", ended_job())]))
    ended = gridbay("logs", JOB_ID, *(["-f"] if follow else []))
    assert (ended.code, ended.out) == (0, "one\n\x1b[32mtwo\x1b[0m\nagain\n")
    assert "attempt 2" in ended.err
    assert logged_in.seen[0].query == {"follow": str(follow).lower()}


class Offers:
    """Two offers, filtered as the market would."""

    def __call__(self, seen: Seen) -> Answer:
        found = [offer(measured={"matrix_operations_per_second": 312_500 * 10**9}), cpu_offer(node_name="birch")]
        if "max_price" in seen.query:
            found = [o for o in found if o.price_per_unit_hour.microusd <= float(seen.query["max_price"]) * 1e6]
        if "gpu" in seen.query:
            found = [o for o in found if seen.query["gpu"] in o.model]
        for measure, value in parse_at_least([seen.query["at_least"]] if "at_least" in seen.query else []).items():
            found = [o for o in found if o.measured.get(measure.kind, 0) >= value]
        return Answer(Page(items=found))


def test_offers_are_sorted_as_wanted(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /v1/offers", Offers())
    lines = gridbay("offers").out.splitlines()
    assert [line.split()[0] for line in lines] == ["NODE", "birch", "amber"]
    assert "NVIDIA H100 80GB HBM3" in lines[2]
    assert "85.5 GB" in lines[2]
    assert gridbay("offers", "--sort", "memory").out.splitlines()[1].startswith("amber")
    assert gridbay("offers", "--at-least", "matrix=300T", "-o", "quiet").out == f"{offer().offer_id}\n"
    gridbay("offers", "--sort", "work")
    assert logged_in.seen[-1].query["sort"] == "work", "the market sorts before it cuts"


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        (
            ("--gpu", "H100", "--max-price", "1"),
            "no offer at 1 USDC or less; without --max-price: 1 offer from 2.10 USDC/h",
        ),
        (
            ("--at-least", "matrix=1P", "--max-price", "3"),
            "no offer was measured at matrix=1P; without --at-least: 2 offers from 0.02 USDC/h "
            "(matrix at best 312 TOP/s)",
        ),
        (("--gpu", "B200"), "no offer has the GPUs B200; without --gpu: 2 offers from 0.02 USDC/h"),
        (
            ("--gpu", "B200", "--max-price", "0.01"),
            "no offer matches; without any condition: 2 offers from 0.02 USDC/h",
        ),
    ],
)
def test_where_nothing_matches_it_says_what_would(
    logged_in: ServedMarket, gridbay: Gridbay, options: tuple[str, ...], instead: str
) -> None:
    logged_in.on("GET /v1/offers", Offers())
    ended = gridbay("offers", *options)
    assert (ended.code, ended.out) == (0, "")
    assert instead in ended.err
    assert json.loads(gridbay("offers", *options, "-o", "json").out) == []


def test_an_empty_market_is_told(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /v1/offers", Page(items=[]))
    assert "no node offers anything that may be rented right now" in gridbay("offers").err


def test_a_foreign_job_is_a_refusal(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /v1/jobs/{}", problem(404, "not_found", "there is no such job here"))
    ended = gridbay("jobs", "show", "job_x")
    assert (ended.code, ended.out) == (1, "")
    refused, mend, code = ended.err.splitlines()
    assert (refused, code) == ("refused: there is no such job here", "  code: not_found")
    assert mend.startswith("  mend: check the id")


def test_a_market_that_is_away_is_told_with_its_own_status(gridbay: Gridbay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRIDBAY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GRIDBAY_TOKEN", "gbc_test")
    ended = gridbay("balance")
    assert ended.code == 3
    assert ended.err.count("trying again") == 1
    assert "refused: the market at http://127.0.0.1:9 does not answer" in ended.err


def test_what_a_price_was_made_of_is_told_where_there_is_more_to_it(answering: ServedMarket, gridbay: Gridbay) -> None:
    plain = ANSWERS["GET /v1/jobs/{}"], ANSWERS["GET /v1/jobs/{}/cost"]
    assert isinstance(plain[0], JobView) and isinstance(plain[1], CostView)
    assert "attempt 1:" not in gridbay("cost", JOB_ID).out + gridbay("job", "show", JOB_ID).out
    line = plain[1].lines[0].model_copy(update={"components": MADE})
    answering.on("GET /v1/jobs/{}/cost", plain[1].model_copy(update={"lines": [line, line]}))
    tried = plain[0].attempts[0].model_copy(update={"components": MADE})
    answering.on("GET /v1/jobs/{}", plain[0].model_copy(update={"attempts": [tried]}))
    assert gridbay("cost", JOB_ID).out.count(MADE_WORDS) == 1
    assert gridbay("job", "show", JOB_ID).out.count(MADE_WORDS) == 1


def test_what_is_asked_beside_the_units_has_columns_where_an_offer_asks_it(
    logged_in: ServedMarket, gridbay: Gridbay
) -> None:
    logged_in.on("GET /v1/offers", Page(items=[offer()]))
    assert "GiB/h" not in gridbay("offers").out
    asked = ComponentPricesView(
        cpu_per_hour=Money.of(0), memory_per_gib_hour=Money.of(1_250), disk_per_gib_hour=Money.of(0)
    )
    logged_in.on("GET /v1/offers", Page(items=[offer(), cpu_offer(components=asked)]))
    head, first, second = gridbay("offers").out.splitlines()
    assert "RAM GiB/h" in head and "DISK GiB/h" not in head and "CPU/h" not in head
    assert "0.00125" in first + second
