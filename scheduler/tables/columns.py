"""Column types that the scheduler's tables share."""

from enum import Enum as PythonEnum

from sqlalchemy import Enum

from market.resources import Unit
from market.states import AttemptState, JobState, Reason


def word(kind: type[PythonEnum]) -> Enum:
    """A closed list of words, stored as text so that a later version may add one without altering a type."""
    return Enum(
        kind,
        native_enum=False,
        create_constraint=False,
        length=40,
        validate_strings=True,
        values_callable=lambda members: [member.value for member in members],
    )


UNIT = word(Unit)
JOB_STATE = word(JobState)
ATTEMPT_STATE = word(AttemptState)
REASON = word(Reason)
