"""Answering a question about the market: its facts from the database, its rows from pandas in a process of its own."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence

from market.errors import Unavailable
from monitoring.measures import Answer, Question, Row

FRAME_SECONDS_MAX = 30.0
FACTS_MAX_BYTES = 32 * 1024 * 1024

Facts = Mapping[str, Sequence[Row]]


class Frames:
    """The pandas process: one at a time, and none while nobody asks."""

    def __init__(self) -> None:
        self._one = asyncio.Semaphore(1)

    async def answer(self, question: Question, facts: Facts) -> Answer:
        """The rows of these facts. Raises Unavailable when the process fails or takes too long."""
        asked = json.dumps({"report": question.report, "by": [item.value for item in question.by], "facts": facts})
        async with self._one:
            told = await _told(asked.encode())
        return Answer(question, json.loads(told))


async def _told(asked: bytes) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "monitoring.frames",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # It is given numbers and names, and nothing of what the environment of this process holds.
        env={"PYTHONPATH": ":".join(sys.path)},
        limit=FACTS_MAX_BYTES,
    )
    try:
        async with asyncio.timeout(FRAME_SECONDS_MAX):
            told, _ = await process.communicate(asked)
    except TimeoutError:
        raise Unavailable(f"the report took longer than {FRAME_SECONDS_MAX:g} s", remedy="ask for less") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unavailable(f"the report failed (status {process.returncode})", remedy="see the portal's log")
    return told
