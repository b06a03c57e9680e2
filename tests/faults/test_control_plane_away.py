"""FAULTS.md row 18: the control plane is away for ten minutes while three jobs run, at the worst moment there is.

The real one takes a quarter of an hour and is done in `make soak`; in CI time is virtual (test_outage_in_virtual_time).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from plane import ControlPlane, until
from real_agents import RealAgent
from scene import Scene
from soak_size import SOAK, write_figures
from sqlalchemy import text

AWAY_SECONDS = 600.0
BEFORE_RENEWAL_SECONDS = 2.0
RUN_SECONDS = 840
JOBS = 3
_SPEC = {
    "run": f"sleep {RUN_SECONDS}",
    "resources": {"cpu": 1, "memory": "100MB", "disk": "100MB"},
    "max_duration": "1h",
}
_RUNNING = "SELECT count(*) FROM attempts WHERE state = 'running'"
_RENEWAL = "SELECT extract(epoch FROM min(renew_at) - clock_timestamp()) FROM metered_leases WHERE ended_at IS NULL"
_LEFT = "SELECT extract(epoch FROM min(held_until) - clock_timestamp()) FROM leases WHERE released_at IS NULL"
_OUTCOME = """
SELECT j.state, j.attempts_placed, l.to_ms, r.run_ms
FROM jobs j
JOIN (SELECT job_id, max(to_ms) AS to_ms FROM usage_lines GROUP BY job_id) l ON l.job_id = j.id
JOIN metered_leases m ON m.job_id = j.id
JOIN (SELECT lease_id, sum(durable_run_ms) AS run_ms FROM reading_streams GROUP BY 1) r ON r.lease_id = m.lease_id
WHERE j.organization_id = :owner ORDER BY j.id"""


@pytest.fixture
def agents(plane: ControlPlane, scene: Callable[..., Scene], tmp_path: Path) -> Iterator[Callable[[Scene], None]]:
    with ExitStack() as ends:

        def start(market: Scene) -> None:
            for number in range(JOBS):
                agent = RealAgent(tmp_path / f"agent-{number}", plane.url, market.join_token, f"real-{number}")
                ends.callback(agent.close)
                agent.start()

        yield start


@pytest.mark.skipif(not SOAK, reason="a quarter of an hour of real time: make soak")
@pytest.mark.timeout(1800)
def test_ten_minutes_without_a_control_plane_kill_no_job_and_all_are_billed_right(
    plane: ControlPlane, scene: Callable[..., Scene], agents: Callable[[Scene], None]
) -> None:
    market = scene(nodes=0)
    agents(market)
    plane.until(lambda: market.count("SELECT count(*) FROM offers WHERE ended_at IS NULL") >= JOBS, 60, "offers")
    market.journal.spec = _SPEC
    market.tended(market.journal.submit(JOBS))
    plane.until(lambda: market.count(_RUNNING) == JOBS, 120, "three running jobs")
    plane.until(lambda: 0 < market.count(_RENEWAL) <= BEFORE_RENEWAL_SECONDS, 300, "the moment before a renewal")
    began = time.monotonic()
    for end in (
        *(part.kill for part in plane.parts.values()),
        plane.broker.kill,
        plane.cache.kill,
        plane.database.kill,
    ):
        end()
    until(lambda: time.monotonic() - began >= AWAY_SECONDS, AWAY_SECONDS + 60, "ten minutes")
    for engine in (plane.database, plane.broker, plane.cache):
        engine.start()
    left = market.count(_LEFT)
    plane.start()
    market.settle(RUN_SECONDS)
    with market.database.read() as session:
        outcomes = session.execute(text(_OUTCOME), {"owner": market.owner}).all()
    write_figures("ten_minutes_away", {"left_seconds": left, "outcomes": [str(row) for row in outcomes]})
    assert left >= 60, "there was time to come back in"
    assert [(row.state, row.attempts_placed) for row in outcomes] == [("succeeded", 1)] * JOBS
    for row in outcomes:
        assert row.to_ms == row.run_ms, "billed as it was read, to the millisecond"
        assert abs(row.run_ms - RUN_SECONDS * 1000) < 5000, "and for what it ran, the outage included"
