"""FAULTS.md rows 3, 4 and 11 from outside: each process is killed at each of its points while jobs go through the line.

In CI a process meets all its points in one run, a kill each. In `make soak` it meets one of them in a run, 200 times,
and the others meet one of theirs meanwhile.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from plane import ControlPlane, comma
from scene import Scene
from soak_size import KILLS_A_POINT, SOAK, size

KILLS = size(1, KILLS_A_POINT)
JOBS_AT_ONCE, PACE_SECONDS = 4, 0.25
UNDER_WAY = size(18, 120)
"""Jobs that are still on their way when more are submitted."""
ROUND = ("begun", "decided", "granted", "published", "committed")
PAUSED = ROUND[:-1] if SOAK else ("granted",)
POINTS = {
    "api": ("api.reports.before_commit", "api.reports.after_commit", "api.reports.published"),
    "relay": ("relay.claimed", "relay.sent"),
    "consumer": ("consumer.merged", "consumer.committed"),
    "worker": (
        *(f"scheduler.round.{step}" for step in ROUND),
        "outbox.handled",
        "outbox.delivered",
        "billing.captured",
        "billing.capture.committed",
    ),
}
RUNS: list[dict[str, tuple[str, ...]]] = (
    [
        {part: points[turn : turn + 1] for part, points in POINTS.items() if turn < len(points)}
        for turn in range(max(map(len, POINTS.values())))
    ]
    if SOAK
    else [{part: points} for part, points in POINTS.items()]
)


@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.parametrize("armed", RUNS, ids=lambda armed: "+".join(points[0] for points in armed.values()))
def test_nothing_is_lost_and_nothing_is_done_twice(
    plane: ControlPlane, scene: Callable[..., Scene], armed: dict[str, tuple[str, ...]]
) -> None:
    market = scene(nodes=size(3, 5))
    plane.arm(**{part: comma(points, f"kill@2*{KILLS}") for part, points in armed.items()})

    loads: list[Future[None]] = []
    due = time.monotonic()

    def killed_enough() -> bool:
        """Whatever is waited for meanwhile, new jobs wake every process; never too many."""
        nonlocal due
        if time.monotonic() >= due and market.open_jobs() < UNDER_WAY:
            loads.append(market.run(market.journal.submit(JOBS_AT_ONCE)))
            due = time.monotonic() + PACE_SECONDS
        fired = plane.fired()
        return all(fired[point] >= KILLS for points in armed.values() for point in points)

    plane.until(killed_enough, 60 + 5 * KILLS, "all the kills")
    kills = plane.fired()
    plane.calm()
    plane.until(lambda: all(load.done() for load in loads), 60, "every answer")
    market.settle(size(120, 600))
    market.check(kills=kills)


def test_each_process_is_killed_and_started_as_a_program_of_its_own(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    """The other tests fork them from one that has loaded everything."""
    market = scene()
    try:
        for part in plane.parts.values():
            part.fresh = True
            load = market.run(market.journal.submit(JOBS_AT_ONCE, at_once=4))
            part.kill()
            part.start()
            plane.until(load.done, 60, "every answer")
        plane.wait_ready()
        market.settle()
        market.check(kills=len(plane.parts))
    finally:
        for part in plane.parts.values():
            part.fresh = False
            part.kill()


def test_of_two_schedulers_and_a_paused_one_none_leases_twice_nor_writes_late(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    second = plane.add("worker", "second")
    try:
        for step in PAUSED:
            second.kill()
            second.failpoints = f"scheduler.round.{step}=pause"
            second.start()
            before = plane.fired()[f"scheduler.round.{step}"]

            def paused(point: str = f"scheduler.round.{step}", before: int = before) -> bool:
                return plane.fired()[point] > before

            while not paused():
                market.tended(market.journal.submit(4))
            market.tended(market.journal.submit(JOBS_AT_ONCE))
            # The database ends the transaction of who holds it open and says nothing; then the others go on.
            plane.until(lambda: market.open_jobs() == 0, 60, "the jobs' ends while one scheduler is paused")
            second.resume()
            market.tended(market.journal.submit(JOBS_AT_ONCE))
            market.settle(120)
            market.check()
    finally:
        plane.drop("second")
