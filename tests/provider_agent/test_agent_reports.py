"""The end of an attempt is told at once; ends that come while the portal is busy with one share the next report."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.agent_api import AttemptStatus, Report, ReportAnswer
from market.states import Reason
from provider_agent.reports import GATHER_SECONDS, GATHER_SECONDS_MAX, STATUSES_MAX, Reports, pause_seconds
from provider_agent.spool import Spool


class Portal:
    """Takes every status, and keeps what each report said."""

    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.hear = asyncio.Event()

    async def report(self, report: Report) -> ReportAnswer:
        self.heard.append([status.attempt_id for status in report.statuses])
        await self.hear.wait()
        return ReportAnswer(accepted=self.heard[-1], durable_through={})


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


def ended(attempt_id: str) -> AttemptStatus:
    return AttemptStatus(attempt_id=attempt_id, state="exited", reason=Reason.SUCCEEDED, exit_code=0)


def test_an_end_waits_for_nothing_and_those_that_come_meanwhile_share_a_report(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    portal = Portal()

    async def go() -> None:
        reports = Reports(portal, Spool(tmp_path), "node")  # type: ignore[arg-type]
        life = asyncio.create_task(reports.run())
        first = reports.tell(ended("one"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert portal.heard == [["one"]], "some turns of the loop, no time"
        second = reports.tell(ended("two"))
        portal.hear.set()
        await first.wait()
        # The answer is here; this one comes a moment after it.
        third = reports.tell(ended("three"))
        await asyncio.gather(second.wait(), third.wait())
        life.cancel()

    runner.run(asyncio.wait_for(go(), 20))
    assert portal.heard == [["one"], ["two", "three"]]


def test_more_ends_than_a_report_takes_wait_for_no_pause(
    runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("provider_agent.reports.PACE_SECONDS", 3600.0)
    portal = Portal()
    portal.hear.set()

    async def go() -> None:
        reports = Reports(portal, Spool(tmp_path), "node")  # type: ignore[arg-type]
        told = [reports.tell(ended(f"attempt-{number}")) for number in range(2 * STATUSES_MAX + 1)]
        life = asyncio.create_task(reports.run())
        await asyncio.gather(*(one.wait() for one in told))
        life.cancel()

    runner.run(asyncio.wait_for(go(), 20))
    assert [len(statuses) for statuses in portal.heard] == [STATUSES_MAX, STATUSES_MAX, 1]


def test_a_busy_portal_is_told_in_larger_pieces() -> None:
    assert [pause_seconds(took) for took in (0, 0.001, 0.04, 5)] == [
        GATHER_SECONDS,
        GATHER_SECONDS,
        0.08,
        GATHER_SECONDS_MAX,
    ]
