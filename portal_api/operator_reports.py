"""An operator's question, answered: facts from the database threads, rows from the pandas process."""

from datetime import datetime, timedelta

from monitoring import facts
from monitoring.measures import Answer, Dimension, Question, Report
from portal_api.portal import Portal

SPAN = timedelta(days=7)
"""How far back a question reaches that does not say."""


async def answer(
    portal: Portal,
    report: Report,
    *,
    since: datetime | None,
    until: datetime | None,
    by: list[Dimension],
    simulated: bool,
) -> Answer:
    """Raises InvalidInput, TooLarge, Unavailable."""
    until = portal.now() if until is None else until
    question = Question(report, since or until - SPAN, until, tuple(by), simulated)
    found = await portal.threads.read(lambda session: facts.load(session, question))
    return await portal.frames.answer(question, found)
