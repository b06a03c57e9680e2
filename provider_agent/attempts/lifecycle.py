"""The way of one attempt on its node, told from the top; it can be entered again wherever a killed agent left it."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress

from market.errors import MarketError
from provider_agent.attempts import start
from provider_agent.attempts.attempt import Attempt
from provider_agent.attempts.delivery import deliver
from provider_agent.attempts.folders import remove_tree
from provider_agent.attempts.logs import LogShipment, Shipping
from provider_agent.attempts.metering import Meter
from provider_agent.attempts.record import ARCHIVE, Result, Stage
from provider_agent.attempts.watch import watch
from provider_agent.minder import control, layout, orders

KILL_LOOKS_MAX = 100
RELEASE_SECONDS = 0.005
SAVE_SECONDS = 0.1


async def live(attempt: Attempt) -> None:
    """From the record on disk to the accepted report. Raises nothing that a second call could not mend."""
    if attempt.record.stage is Stage.LAUNCHING and not start.has_order_or_began(attempt.folder):
        attempt.note(stage=Stage.ACCEPTED)  # it was cut off before it was ready
    if attempt.record.stage is Stage.ACCEPTED:
        await _unless_stopped(attempt, start.prepare(attempt))
    if attempt.record.stage is Stage.LAUNCHING:
        if start.started_or_alive(attempt.folder):
            attempt.means.launcher.adopt(attempt.needs)
        else:
            await _unless_stopped(attempt, start.launch(attempt))
    if attempt.record.stage in (Stage.LAUNCHING, Stage.ENDED):
        await _run_and_deliver(attempt)


def give_up(attempt: Attempt) -> None:
    """End what could not be begun, as the node's fault; what has run goes its own way."""
    if attempt.record.stage in (Stage.ENDED, Stage.REPORTED) or start.started_or_alive(attempt.folder):
        return
    start.withdraw(attempt)
    _note_end(attempt, Meter(attempt), Result(reason=start.NODES_FAULT, detail="the node's agent could not begin it"))


async def end_now(attempt: Attempt) -> None:
    """Nobody wants it any more: kill what runs and remove every trace but its readings. Raises OSError."""
    if attempt.record.stage in (Stage.ACCEPTED, Stage.LAUNCHING):
        start.withdraw(attempt)
    await kill(attempt)
    Meter(attempt).take_final()
    await release(attempt)
    if not await remove_tree(attempt.folder):
        raise OSError(f"{attempt.folder} could not be removed")


async def kill(attempt: Attempt) -> None:
    """End whatever runs of it, at once. Raises OSError when it does not die."""
    for _ in range(KILL_LOOKS_MAX):
        if control.find(attempt.folder) is None:
            return
        if not await asyncio.to_thread(control.kill, attempt.folder):
            await asyncio.sleep(0.05)  # it is just starting and has no minder to kill yet
    raise OSError(f"the minder of {attempt.attempt_id} does not die")


async def release(attempt: Attempt) -> None:
    """Give back what it held of the node besides its folder. Safe to call again."""
    with suppress(orders.UnreadableFile):
        order = attempt.minder_order or orders.read_order(attempt.folder)
        if order is not None:
            attempt.means.sandbox.clean_up(order)
    try:
        await attempt.means.launcher.release(attempt.attempt_id)
    except MarketError as error:
        attempt.log.warning("the pool did not take the reservation back", error=error.detail)


async def _release_soon(attempt: Attempt) -> None:
    """An end that is to be told at once is told first."""
    await asyncio.sleep(RELEASE_SECONDS)
    await release(attempt)


@contextmanager
def _saved_unless_soon_over(attempt: Attempt) -> Iterator[None]:
    """Most deliveries are over before their end need be written down; the outcome on disk is all there is till then."""
    saving = asyncio.get_running_loop().call_later(SAVE_SECONDS, attempt.save)
    try:
        yield
    except BaseException:
        attempt.save()
        raise
    finally:
        saving.cancel()


async def _unless_stopped(attempt: Attempt, work: Coroutine[None, None, None]) -> None:
    """One step of the beginning, given up when the attempt is to stop before its command runs."""
    step = asyncio.create_task(work)
    stop = asyncio.create_task(attempt.wanted_stop.wait())
    try:
        await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        step.cancel()
        await asyncio.wait({step, stop})
    if attempt.wanted_stop.is_set() and not start.started_or_alive(attempt.folder):
        start.withdraw(attempt)
        assert attempt.record.stop_reason is not None, "a stop has a reason"
        _note_end(attempt, Meter(attempt), Result(reason=attempt.record.stop_reason))
        return
    try:
        step.result()
    except start.CannotStart as error:
        _note_end(attempt, Meter(attempt), error.result)
    except asyncio.CancelledError:
        # The stop came while the step was ending by itself; the minder is alive and has been asked.
        return


def _note_end(attempt: Attempt, meter: Meter, result: Result) -> None:
    """The final reading first: a kill in between finds it taken, and then comes to the same end again."""
    attempt.update(final_read=meter.take_final(), stage=Stage.ENDED, result=result)


async def _run_and_deliver(attempt: Attempt) -> None:
    meter = Meter(attempt)
    shipping = Shipping(
        LogShipment(attempt.attempt_id, orders.log_path(attempt.folder)), attempt.means.conversation, attempt.log
    )
    try:
        if attempt.record.stage is Stage.LAUNCHING:
            result = await watch(attempt, meter)
            attempt.note(final_read=meter.take_final(), stage=Stage.ENDED, result=result)
        assert attempt.record.result is not None, "what has ended has a result"
        # The pool has its books: a new attempt on the same devices waits there until they are given back.
        releasing = asyncio.create_task(_release_soon(attempt))
        with _saved_unless_soon_over(attempt):
            await deliver(attempt, attempt.record.result, shipping)
        await releasing
    finally:
        shipping.cancel()
    attempt.update(stage=Stage.REPORTED)
    await remove_tree(attempt.workdir)
    for name in (layout.LOG, layout.ORDER, layout.ENVIRONMENT, ARCHIVE):
        (attempt.folder / name).unlink(missing_ok=True)
