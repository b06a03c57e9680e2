"""States: only listed steps, and what is final stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import IllegalTransition
from market.ids import is_id, new_id, new_ids
from market.states import ATTEMPT_TRANSITIONS, JOB_TRANSITIONS, AttemptState, JobState, advance


@given(st.sampled_from(JobState), st.sampled_from(JobState))
def test_a_job_moves_only_as_listed(current: JobState, to: JobState) -> None:
    if to in JOB_TRANSITIONS[current]:
        assert advance(current, to) is to
    else:
        with pytest.raises(IllegalTransition):
            advance(current, to)


@pytest.mark.parametrize("state", [*JobState, *AttemptState])
def test_what_is_final_moves_nowhere_and_the_rest_somewhere(state: JobState | AttemptState) -> None:
    steps = JOB_TRANSITIONS[state] if isinstance(state, JobState) else ATTEMPT_TRANSITIONS[state]
    assert bool(steps) is not state.final


def test_identifiers_sort_by_time_and_say_what_they_name() -> None:
    first, second = new_id("job"), new_id("job")
    assert first[:12] <= second[:12]
    assert is_id(first, "job")
    assert not is_id(first, "att")
    assert not is_id(first.lower(), "job")


def test_identifiers_made_together_are_each_their_own() -> None:
    made = new_ids("att", 500)
    assert made == sorted(made)
    assert len(set(made)) == 500
    assert all(is_id(one, "att") for one in made)
    assert len({one[:14] for one in made}) == 1, "of one millisecond"
    assert {one[-1] for one in made} > set("0Z"), "every character comes"
    assert new_ids("att", 0) == []
