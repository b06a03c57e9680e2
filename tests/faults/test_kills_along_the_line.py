"""FAULTS.md rows 3, 4 and 11 from outside: each process is killed at each of its points while jobs go through the line.

In CI a process meets all its points in one run, a few kills each; in `make soak` each point has a run of 200 kills.
"""

from collections.abc import Callable

import pytest
from plane import ControlPlane, comma
from scene import Scene
from soak_size import KILLS_A_POINT, SOAK, size

KILLS = size(1, KILLS_A_POINT)
JOBS_AT_ONCE = size(12, 4)
UNDER_WAY = size(6, 120)
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
RUNS = [
    (part, chosen)
    for part, points in POINTS.items()
    for chosen in ([(point,) for point in points] if SOAK else [points])
]


@pytest.mark.timeout(3600 if SOAK else 300)
@pytest.mark.parametrize(("part", "points"), RUNS, ids=lambda value: value if isinstance(value, str) else value[0])
def test_nothing_is_lost_and_nothing_is_done_twice(
    plane: ControlPlane, scene: Callable[..., Scene], part: str, points: tuple[str, ...]
) -> None:
    market = scene(nodes=size(3, 5))
    plane.arm(**{part: comma(points, f"kill@2*{KILLS}")})

    def killed_enough() -> bool:
        fired = plane.fired()
        return all(fired[point] >= KILLS for point in points)

    while not killed_enough():
        before = plane.fired()
        market.tended(market.journal.submit(JOBS_AT_ONCE))
        plane.until(lambda before=before: plane.fired() != before or market.unplaced() == 0, 120, "a place, or a kill")
        plane.until(lambda: killed_enough() or market.open_jobs() < UNDER_WAY, 120, "the end of some jobs")
    kills = sum(plane.fired().values())
    plane.calm()
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
