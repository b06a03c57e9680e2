"""A run says in columns what its readings say one by one: the same numbers, the same hashes, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from market.agent_api import Report
from market.reading_runs import RUN_READINGS_MAX, ReadingRun, runs_of
from market.readings import COUNTER_MAX, GENESIS, Reading

NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
COUNTERS = st.integers(0, COUNTER_MAX)
RUN: dict[str, Any] = {
    "lease_id": "lease", "stream_id": "stream", "first": 1, "previous_hash": GENESIS, "run_ms": [1, 2],
    "cpu_ms": [0, 0], "gpu_busy_ms": [0, 0], "memory_peak_bytes": [5, 5], "taken_at_ms": [9, 9],
}  # fmt: skip


@st.composite
def chains(draw: st.DrawFn) -> list[Reading]:
    """A stream from any number on, whose last reading may be final."""
    values = draw(st.lists(st.tuples(*[COUNTERS] * 5), min_size=1, max_size=8))
    first, final = draw(st.integers(1, COUNTER_MAX - 10)), draw(st.booleans())
    lease_id, stream_id, previous = draw(NAMES), draw(NAMES), draw(st.sampled_from([GENESIS, "ab" * 32]))
    made = []
    for number, (run_ms, cpu_ms, busy_ms, memory, taken_at) in enumerate(values):
        reading = Reading(
            lease_id=lease_id,
            stream_id=stream_id,
            sequence=first + number,
            run_ms=run_ms,
            cpu_ms=cpu_ms,
            gpu_busy_ms=busy_ms,
            memory_peak_bytes=memory,
            taken_at_ms=taken_at,
            final=final and number == len(values) - 1,
            previous_hash=previous,
        )
        made.append(reading)
        previous = reading.hash
    return made


@given(chains())
def test_a_chain_is_one_run_with_the_same_hashes(chain: list[Reading]) -> None:
    (run,) = runs_of(chain)
    assert (run.first, run.last, run.count) == (chain[0].sequence, chain[-1].sequence, len(chain))
    assert run.hashes() == [reading.hash for reading in chain]
    assert run.readings() == chain
    assert ReadingRun.model_validate_json(run.model_dump_json()) == run


@given(chains(), st.data())
def test_whatever_does_not_continue_begins_another_run(chain: list[Reading], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(chain) - 1))
    changed = {"run_ms": chain[at].run_ms ^ 1, "lease_id": "another", "stream_id": "another", "final": True}
    name = data.draw(st.sampled_from(sorted(changed)))
    broken = [*chain[:at], chain[at].model_copy(update={name: changed[name]}), *chain[at + 1 :]]
    runs = list(runs_of(broken))
    assert sum(run.count for run in runs) == len(chain)
    assert [value for run in runs for value in run.run_ms] == [reading.run_ms for reading in broken]
    if broken[at] != chain[at] and at < len(chain) - 1:
        following = next(run for run in runs if run.run_ms is not runs[0].run_ms)
        assert len(runs) > 1 and following.first == broken[runs[0].count].sequence


@pytest.mark.parametrize(
    "changed",
    [
        {"cpu_ms": [0]},
        {"run_ms": [], "cpu_ms": [], "gpu_busy_ms": [], "memory_peak_bytes": [], "taken_at_ms": []},
        {"first": COUNTER_MAX},
        {"first": 0},
        {"run_ms": [1, -1]},
        {"run_ms": [1, COUNTER_MAX + 1]},
        {"previous_hash": "AB" * 32},
        {"stream_id": "a\0b"},
        {"hash": GENESIS},
    ],
)
def test_what_is_no_run_is_refused(changed: dict[str, Any]) -> None:
    ReadingRun.model_validate(RUN)
    with pytest.raises(ValidationError):
        ReadingRun.model_validate({**RUN, **changed})


def test_a_report_has_so_many_readings_at_most() -> None:
    columns = ("run_ms", "cpu_ms", "gpu_busy_ms", "memory_peak_bytes", "taken_at_ms")
    full = {**RUN, **{name: [1] * RUN_READINGS_MAX for name in columns}}
    Report.model_validate({"node_id": "n", "sent_at_ms": 0, "runs": [full]})
    with pytest.raises(ValidationError):
        Report.model_validate({"node_id": "n", "sent_at_ms": 0, "runs": [full, RUN]})


def test_a_long_chain_is_cut_into_runs_that_fit() -> None:
    made: list[Reading] = []
    for number in range(RUN_READINGS_MAX + 1):
        previous = made[-1].hash if made else GENESIS
        made.append(
            Reading(
                lease_id="lease",
                stream_id="stream",
                sequence=number + 1,
                run_ms=number,
                taken_at_ms=number,
                previous_hash=previous,
            )
        )
    first, second = runs_of(made)
    assert (first.count, second.count, second.previous_hash) == (RUN_READINGS_MAX, 1, first.hashes()[-1])
