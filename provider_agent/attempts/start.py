"""The beginning of an attempt: fetch the order and the working directory, build the sandbox, let the pool launch it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from market.agent_api import AttemptOrder
from market.errors import InvalidInput, TooLarge
from market.states import Reason
from provider_agent.attempts.attempt import Attempt
from provider_agent.attempts.environment import command_environment
from provider_agent.attempts.folders import remove_tree
from provider_agent.attempts.metering import Meter
from provider_agent.attempts.record import ARCHIVE, Result, Stage
from provider_agent.attempts.threads import both_in_threads, in_thread
from provider_agent.attempts.workdir import unpack
from provider_agent.conversation import Refused, Unreachable
from provider_agent.minder import control, layout, orders
from provider_agent.minder.launcher import AlreadyStarted, LaunchFailed
from provider_agent.pacing import Backoff
from provider_agent.sandbox.port import Limits, Request

PREPARE_SECONDS_MAX = 3600.0
NODES_FAULT = Reason.FAILED_PROVIDER_LOST
"""Nothing of the customer's ran, and nothing of theirs was wrong: the market tries it again elsewhere."""

_Answer = TypeVar("_Answer")


class CannotStart(Exception):
    """The attempt ends before its command ran; how is in `result`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.result = Result(reason=reason, detail=detail)


async def prepare(attempt: Attempt) -> None:
    """From nothing to an order on disk; may begin anew any number of times. Raises CannotStart."""
    try:
        async with asyncio.timeout(PREPARE_SECONDS_MAX):
            attempt.means.launcher.expect(attempt.needs)
            (attempt.folder / layout.ORDER).unlink(missing_ok=True)
            order = await _fetch_order(attempt)
            attempt.note(
                outputs=tuple(order.outputs),
                run_for_seconds=order.run_for_seconds,
                stop_grace_seconds=order.stop_grace_seconds,
                trace=order.trace,
            )
            await _fetch_workdir(attempt, order)
            await _write_order(attempt, order)
    except TimeoutError:
        raise CannotStart(NODES_FAULT, f"it could not be prepared within {PREPARE_SECONDS_MAX:.0f} s") from None
    except OSError as error:
        raise CannotStart(NODES_FAULT, f"the node could not prepare it: {error.strerror or error}") from error


async def launch(attempt: Attempt) -> None:
    """Have the minder started, once, whoever asks and however often. Raises CannotStart."""
    try:
        await _persist(attempt, lambda: attempt.means.launcher.launch(attempt.folder, attempt.needs))
    except AlreadyStarted:
        attempt.log.info("attempt was started before; adopting it")
    except LaunchFailed as error:
        if orders.was_started(attempt.folder):
            return  # it is the minder's word that counts now
        withdraw(attempt)
        raise CannotStart(NODES_FAULT, f"the node could not start it: {error}") from error


def withdraw(attempt: Attempt) -> None:
    """Make sure that a start that is still on its way runs nothing: no deadline in the future, no environment."""
    if attempt.folder.exists():
        orders.write_deadline(attempt.folder, 0)
        (attempt.folder / layout.ENVIRONMENT).unlink(missing_ok=True)


async def _fetch_order(attempt: Attempt) -> AttemptOrder:
    """As it came with the poll; an agent that was killed since, or one whose job has secrets, asks for it."""
    if attempt.order is not None:
        return attempt.order
    try:
        return await _persist(attempt, lambda: attempt.means.conversation.order(attempt.attempt_id))
    except Refused as error:
        raise CannotStart(Reason.FAILED_START, f"the portal gives no order for it: {error.detail}") from error


async def _fetch_workdir(attempt: Attempt, order: AttemptOrder) -> None:
    """An empty folder, or the customer's archive in it."""
    if attempt.workdir.exists():
        await remove_tree(attempt.workdir)
    attempt.workdir.mkdir(mode=0o755)
    if order.workdir_url is None or order.workdir_sha256 is None:
        return
    archive = attempt.folder / ARCHIVE
    url, sha256, disk = order.workdir_url, order.workdir_sha256, attempt.record.disk_bytes
    try:
        await _persist(attempt, lambda: attempt.means.transfers.download(url, archive, sha256=sha256, bytes_max=disk))
        await in_thread(unpack, archive, attempt.workdir, bytes_max=disk)
    except (Refused, InvalidInput, TooLarge) as error:
        raise CannotStart(Reason.FAILED_WORKDIR, error.detail) from error
    finally:
        archive.unlink(missing_ok=True)


async def _write_order(attempt: Attempt, order: AttemptOrder) -> None:
    record = attempt.record
    devices = await in_thread(_devices, attempt) if record.gpu_uuids else ()
    request = Request(
        attempt_id=record.attempt_id,
        argv=("bash", "-c", order.run),
        workdir=attempt.workdir,
        slot=record.slot,
        limits=Limits(cpus=record.cpu_milli / 1000, memory_bytes=record.memory_bytes),
        environment=command_environment(order, record.gpu_uuids),
        devices=devices,
    )
    Meter(attempt).begin()
    # For good before anything may run, or a power cut could have it run again; until there is an order nothing may.
    attempt.note(stage=Stage.LAUNCHING, boot_id=layout.boot_id())
    command, unsaved = await both_in_threads(
        partial(attempt.means.sandbox.prepare, request), partial(attempt.save, durable=True)
    )
    minder_order = orders.Order(
        attempt_id=record.attempt_id,
        job_id=record.job_id,
        trace=record.trace,
        command=command,
        workdir=attempt.workdir,
        slot=record.slot,
        disk_bytes_max=record.disk_bytes,
    )
    public = command.model_copy(update={"environment": {}, "descriptors": {}})
    attempt.minder_order = minder_order.model_copy(update={"command": public})
    try:
        if unsaved is not None:
            raise unsaved
        orders.write_order(attempt.folder, minder_order, attempt.deadline_ns)
    except OSError:
        await in_thread(attempt.means.sandbox.clean_up, minder_order)
        raise


def _devices(attempt: Attempt) -> tuple[Path, ...]:
    """The files of the leased GPUs; a job without its card would only fail later, and at its customer's cost."""
    try:
        devices = tuple(Path(device) for device in attempt.means.gpus.device_files(attempt.record.gpu_uuids))
    except LookupError as gone:
        raise CannotStart(NODES_FAULT, str(gone)) from None
    for device in devices:
        if not device.exists():
            raise CannotStart(NODES_FAULT, f"the leased GPU's file {device} is not there")
    return devices


def has_order_or_began(folder: Path) -> bool:
    """Whether it may have been launched: that takes an order, which is written last."""
    return (folder / layout.ORDER).exists() or started_or_alive(folder)


async def _persist(attempt: Attempt, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask until there is an answer, as long as the lease lasts."""
    backoff = Backoff()
    while True:
        try:
            return await ask()
        except Unreachable as error:
            if attempt.held_seconds <= 0:
                words = f"the lease ended before it could start: {error.detail}"
                raise CannotStart(NODES_FAULT, words) from error
            attempt.log.info("will try again", error=error.detail)
            await asyncio.sleep(backoff.next_seconds(error.retry_after))


def started_or_alive(folder: Path) -> bool:
    return orders.was_started(folder) or control.find(folder) is not None
