"""Blocking work beside the event loop, never left running behind the back of whoever cancelled it."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


async def in_thread(work: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R:
    """As asyncio.to_thread, but a cancellation first waits for the thread: it may still be writing files."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # looked at, so that nobody complains that it was not
        raise


async def both_in_threads(one: Callable[[], _R], other: Callable[[], None]) -> tuple[_R, Exception | None]:
    """What the one returned and how the other failed, once both are over."""

    def tried() -> Exception | None:
        try:
            other()
        except Exception as error:
            return error
        return None

    second = asyncio.ensure_future(in_thread(tried))
    try:
        answer = await in_thread(one)
    finally:
        failure = await second
    return answer, failure
