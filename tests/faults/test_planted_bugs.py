"""A suite that cannot fail proves nothing: each bug is planted in a copy of the code, and the named test must see it.

Minutes for each, so only `make soak` does it.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from soak_size import SOAK

ROOT = Path(__file__).parents[2]
PACKAGES = ("market", "infra", "scheduler", "billing", "monitoring", "portal_api", "provider_agent", "gridbay", "tests")
SECONDS_MAX = 500


@dataclass(frozen=True)
class Bug:
    """In that file, `sound` (which is there once) becomes `broken`; `caught_by` is the test that must fail.

    gone: what is taken out besides.
    """

    name: str
    file: str
    sound: str
    broken: str
    caught_by: str
    gone: str | None = None


LATE_COMMIT = """        import contextlib, threading
        @contextlib.contextmanager
        def late():
            session = self._base.database._sessions()
            session.begin()
            yield session
            def commit():
                failpoint("api.submit.before_commit")
                session.commit()
                session.close()
            threading.Timer(0.1, commit).start()
        with late() as session:
"""

BUGS = (
    Bug(
        "acknowledge before commit",
        "portal_api/submissions.py",
        "        with self._base.database.transaction() as session:\n            verdicts",
        f"{LATE_COMMIT}            verdicts",
        "tests/faults/test_submissions_survive.py::"
        "test_a_submit_happens_exactly_once_whenever_the_portal_dies[api.submit.before_commit]",
        gone='            failpoint("api.submit.before_commit")\n',
    ),
    Bug(
        "acknowledge what is not durable",
        "infra/database.py",
        "-c timezone=UTC",
        "-c timezone=UTC -c synchronous_commit=off",
        "tests/faults/test_engines_fail.py::test_what_was_acknowledged_outlives_postgresql",
    ),
    Bug(
        "drop the fence",
        "scheduler/work/attempts.py",
        "    if attempt.state.final:\n",
        "    if attempt.state.final and attempt.number == job.attempts_placed:\n",
        "tests/scheduler/test_sweep.py::test_late_words_of_a_lost_attempt_change_nothing_but_free_its_gpus",
    ),
    Bug(
        "drop the constraint that no GPU is leased twice",
        "infra/migrations/versions/0001_first_schema.py",
        "(sa.column('slice'), '&&'), where=",
        "(sa.column('slice'), '&&'), (sa.column('lease_id'), '='), where=",
        "tests/scheduler/test_rounds.py::test_a_gpu_is_never_leased_twice_by_anyone",
    ),
    Bug(
        "forget the sweeper",
        "infra/outbox/delivery.py",
        "RESEND_FIRST_SECONDS, RESEND_LONGEST_SECONDS = 10, 60",
        "RESEND_FIRST_SECONDS, RESEND_LONGEST_SECONDS = 10**6, 10**6",
        "tests/faults/test_engines_fail.py::test_nothing_is_lost_even_if_every_message_is",
    ),
    Bug(
        "double capture",
        "billing/charging/capture.py",
        """ AND "window".settled_at IS NULL\n""",
        "\n",
        "tests/faults/test_messages_repeat.py::"
        "test_every_message_five_times_shuffled_and_a_day_late_changes_not_a_byte",
    ),
    Bug(
        "a minder without a deadline",
        "provider_agent/minder/process.py",
        "        if layout.boottime_ns() >= self._deadline_ns:\n",
        "        if self._deadline_ns < 0:\n",
        "tests/provider_agent/minder/test_minder_ends.py::test_the_deadline_kills_everything",
    ),
    Bug(
        "call nodes lost that a deaf portal could not hear",
        "scheduler/upkeep/silence.py",
        "    if listened_at is None or now - listened_at > silent_after / 2:\n",
        "    if listened_at is None:\n",
        "tests/scheduler/test_sweep.py::test_an_outage_of_ours_evicts_no_job_however_few_nodes_there_are",
    ),
    Bug(
        "lease by a clock that was read too early",
        "scheduler/rounds/placing.py",
        "    now = clock.now()\n",
        "    now = clock.now() - timedelta(seconds=1)\n",
        "tests/faults/test_engines_fail.py::test_the_cache_holds_no_truth",
    ),
)


def planted(bug: Bug, source: str) -> str:
    """The source with the bug in it."""
    for sound, broken in ((bug.gone, ""), (bug.sound, bug.broken)):
        if sound is not None:
            assert source.count(sound) == 1, "the code has moved on: plant the bug where it would be made today"
            source = source.replace(sound, broken)
    return source


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "_"))
def test_a_bug_can_still_be_planted_where_it_would_be_made(bug: Bug) -> None:
    assert planted(bug, (ROOT / bug.file).read_text())
    path, name = bug.caught_by.split("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text()


@pytest.mark.skipif(not SOAK, reason="each bug is a run of its own: make soak")
@pytest.mark.timeout(SECONDS_MAX + 60)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "_"))
def test_a_planted_bug_is_caught(bug: Bug, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    file = copy / bug.file
    file.write_text(planted(bug, file.read_text()))
    environment = {name: value for name, value in os.environ.items() if name != "GRIDBAY_SOAK"}
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", bug.caught_by]
    run = subprocess.run(
        command,
        cwd=copy,
        env={**environment, "PYTHONPATH": str(copy), "PYTHONSAFEPATH": ""},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert run.returncode == 1, f"{bug.caught_by} did not see it:\n{run.stdout[-2000:]}"
    assert "1 failed" in run.stdout
