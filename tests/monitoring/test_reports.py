"""Each measure counts what its definition says, by the bounds of its time, in whole numbers."""

import subprocess
import sys
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_history import NOON, History
from sqlalchemy import text
from sqlalchemy.orm import Session

from infra.database import Database
from market.errors import InvalidInput, TooLarge
from market.states import Reason
from monitoring import facts, frames
from monitoring.measures import Dimension, Question, Report, Row, ppm

HOUR, DAY, MODEL = Dimension.HOUR, Dimension.DAY, Dimension.MODEL


def ask(
    session: Session, report: Report, *by: Dimension, since: float = 0, until: float = 7200, simulated: bool = False
) -> list[Row]:
    question = Question(
        report, NOON + timedelta(seconds=since), NOON + timedelta(seconds=until), by, simulated=simulated
    )
    rows = frames.rows(report, list(by), facts.load(session, question))
    for row in rows:
        assert list(row) == list(question.columns)
        assert not any(isinstance(value, float) for value in row.values()), "a float in a report"
    return rows


def test_an_empty_market_has_no_rows(session: Session) -> None:
    for report in Report:
        assert ask(session, report) == []
        assert ask(session, report, MODEL, DAY) == []


def test_no_statement_of_a_report_takes_long_and_the_connections_others_may(database: Database) -> None:
    with database.read() as session:
        question = Question(Report.GMV, NOON, NOON + timedelta(seconds=1))
        told: list[str] = []

        def timeout(*_: object) -> list[Row]:
            told.append(str(session.scalar(text("SHOW statement_timeout"))))
            return []

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(facts, "_rows", timeout)
            facts.load(session, question)
        timeout()
    assert told == ["20s", "1min"]


def test_gmv_is_the_gross_of_lines_by_when_they_were_captured(session: Session) -> None:
    past = History(session)
    node = past.node("prv_a", "H100", 2)
    past.job("org_a", node_id=node, placed=0, ended=10, amount=1_000_003, fee=50_000, rounding=3, captured=0)
    past.job("org_b", node_id=node, placed=0, ended=10, amount=2**53 + 1, fee=7, captured=3599.999)
    past.job("org_a", node_id=node, placed=0, ended=10, amount=5, captured=3600)
    past.job("org_a", node_id=node, placed=0, ended=10, amount=11, captured=7200)
    (total,) = ask(session, Report.GMV)
    gross = 1_000_003 + 2**53 + 1 + 5
    assert (total["usage_lines"], total["gmv_microusd"], total["fee_microusd"]) == (3, gross, 50_007)
    assert total["provider_microusd"] + total["fee_microusd"] + total["rounding_microusd"] == gross
    hours = ask(session, Report.GMV, HOUR)
    assert [(row["hour"], row["usage_lines"]) for row in hours] == [
        ("2036-11-21T12:00:00Z", 2),
        ("2036-11-21T13:00:00Z", 1),
    ]
    by_customer = ask(session, Report.GMV, Dimension.ORGANIZATION)
    assert {row["organization"]: row["gmv_microusd"] for row in by_customer} == {
        "org_a": 1_000_008,
        "org_b": 2**53 + 1,
    }


def test_simulated_nodes_are_shown_apart(session: Session) -> None:
    past = History(session)
    real, toy = past.node("prv_a", "H100", 1), past.node("prv_a", "H100", 1, simulated=True)
    for node, amount in ((real, 100), (toy, 0)):
        past.job("org_a", node_id=node, placed=5, ended=65, amount=amount)
        past.supply(node, "H100", 1000, 0, 3600)
    for report in Report:
        real_rows, toy_rows = ask(session, report), ask(session, report, simulated=True)
        assert len(real_rows) == len(toy_rows) == 1, report
    assert ask(session, Report.GMV, simulated=True)[0]["gmv_microusd"] == 0
    assert ask(session, Report.GMV, simulated=True)[0]["take_rate_ppm"] is None


def test_utilization_is_leased_of_offered_time_cut_at_hours_and_at_the_range(session: Session) -> None:
    past = History(session)
    node = past.node("prv_a", "H100", 2)
    past.supply(node, "H100", 2000, -1800, 1800)
    past.supply(node, "H100", 1000, 1800, None)
    past.job("org_a", node_id=node, placed=1800, ended=5400, milli=1000)
    past.job("org_a", node_id=node, placed=5400, milli=1000)
    rows = ask(session, Report.UTILIZATION, HOUR, MODEL, since=-600)
    seen = [(row["hour"][11:13], row["leased_unit_ms"], row["offered_unit_ms"], row["utilization_ppm"]) for row in rows]
    assert seen == [
        ("11", 0, 2 * 600_000, 0),
        ("12", 1_800_000, 2 * 1_800_000 + 1_800_000, 333_333),
        ("13", 3_600_000, 3_600_000, 1_000_000),
    ]
    (total,) = ask(session, Report.UTILIZATION, since=-600)
    assert total["leased_unit_ms"] == sum(row["leased_unit_ms"] for row in rows)
    assert total["offered_unit_ms"] == sum(row["offered_unit_ms"] for row in rows)


def test_time_that_was_leased_but_never_offered_is_no_division_by_zero(session: Session) -> None:
    past = History(session)
    past.job("org_a", node_id=past.node("prv_a", "H100", 1), placed=0, ended=60)
    (row,) = ask(session, Report.UTILIZATION, MODEL)
    assert (row["model"], row["leased_unit_ms"], row["offered_unit_ms"]) == ("H100", 60_000, 0)
    assert row["utilization_ppm"] is None


def test_queue_wait_is_to_the_first_placement(session: Session) -> None:
    past = History(session)
    node = past.node("prv_a")
    for wait in range(1, 101):
        job_id = past.job("org_a", submitted=0, node_id=node, placed=wait, ended=1000)
    past.retry(job_id, node, placed=2000)
    past.job("org_a", submitted=0)
    (row,) = ask(session, Report.QUEUE_WAIT)
    assert (row["jobs"], row["wait_p50_ms"], row["wait_p90_ms"], row["wait_p99_ms"]) == (100, 50_000, 90_000, 99_000)
    assert row["wait_max_ms"] == 100_000
    assert ask(session, Report.QUEUE_WAIT, MODEL)[0]["model"] == "CPU"


def test_outcomes_count_jobs_by_final_reason(session: Session) -> None:
    past = History(session)
    node = past.node("prv_a")
    past.job("org_a", node_id=node, placed=1, ended=2)
    past.job("org_a", node_id=node, placed=1, ended=2)
    past.job("org_a", node_id=node, placed=1, ended=2, reason=Reason.FAILED_EXIT_CODE)
    past.job("org_a", ended=3, reason=Reason.STOPPED_BY_USER)
    past.job("org_a", node_id=node, placed=1)
    rows = ask(session, Report.OUTCOMES)
    assert {row["reason"]: row["jobs"] for row in rows} == {
        "succeeded": 2,
        "failed:exit_code": 1,
        "stopped:by_user": 1,
    }
    by_provider = ask(session, Report.OUTCOMES, Dimension.PROVIDER)
    assert by_provider[0] == {"provider": "", "reason": "stopped:by_user", "jobs": 1}


def test_more_rows_than_are_shown_are_refused(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    past = History(session)
    for reason in (Reason.SUCCEEDED, Reason.FAILED_SIGNAL, Reason.STOPPED_BY_USER):
        past.job("org_a", ended=2, reason=reason)
    monkeypatch.setattr(facts, "ROWS_MAX", 2)
    with pytest.raises(TooLarge, match="more than 2 rows"):
        ask(session, Report.OUTCOMES)


@pytest.mark.parametrize(
    ("report", "by", "hours", "said"),
    [
        (Report.GMV, (), 0, "empty"),
        (Report.GMV, (HOUR, DAY), 1, "not both"),
        (Report.GMV, (MODEL, MODEL), 1, "twice"),
        (Report.GMV, (HOUR,), 24 * 63, "longer than 62 days"),
        (Report.GMV, (), 24 * 401, "longer than 400 days"),
        (Report.UTILIZATION, (Dimension.ORGANIZATION,), 1, "no organization"),
    ],
)
def test_a_question_that_cannot_be_asked_says_why(
    report: Report, by: tuple[Dimension, ...], hours: int, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        Question(report, NOON, NOON + timedelta(hours=hours), by)
    assert refused.value.errors


@given(st.integers(0, 10**18), st.integers(1, 10**18))
def test_a_ratio_in_millionths_is_rounded_half_to_even(part: int, whole: int) -> None:
    assert ppm(part, whole) == round(Fraction(part * 10**6, whole))


def test_the_portal_and_the_worker_start_without_pandas() -> None:
    """80 MB of it would stay in every process for good."""
    code = "import gridbay.processes.worker, portal_api.app, sys; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
