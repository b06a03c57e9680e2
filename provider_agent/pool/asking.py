"""Asks the pool's processes over their sockets: one line there, one line back, and what a refusal means."""

import asyncio
from contextlib import suppress
from pathlib import Path

from provider_agent.pool.head import PoolUnavailable
from provider_agent.pool.wire import LINE_BYTES_MAX, Ask, Refusal, Release, Reply, Reserve


class NoCapacity(Exception):
    """The pool's books have no room for it; whoever placed it knew less than Ray does."""


class LaunchRefused(Exception):
    """The resources are there, the minder would not start; the message has its words. Nothing stays reserved."""


async def ask(socket: Path, request: Reserve | Release | Ask, seconds: float) -> Reply:
    """The child's answer. Raises NoCapacity, LaunchRefused, PoolUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            line = await exchange(socket, request.model_dump_json().encode() + b"\n")
    except TimeoutError:
        raise PoolUnavailable(f"the pool's child gave no answer to {request.op} within {seconds:.0f} s") from None
    except (OSError, ValueError) as error:
        raise PoolUnavailable(f"the pool's child cannot be asked: {error}") from None
    if not line:
        raise PoolUnavailable("the pool's child ended before it answered")
    reply = Reply.model_validate_json(line)
    match reply.refusal:
        case None:
            return reply
        case Refusal.NO_CAPACITY:
            raise NoCapacity(reply.detail)
        case Refusal.LAUNCH_FAILED:
            raise LaunchRefused(reply.detail)
        case _:
            raise PoolUnavailable(reply.detail)


async def exchange(socket: Path, line: bytes) -> bytes:
    """The line that answers this one; empty when the other side ended first. Raises OSError, ValueError."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_BYTES_MAX)
    try:
        writer.write(line)
        await writer.drain()
        return await reader.readline()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
