"""Owns which sandbox a node uses: the strongest one that a real command just ran in, and why not a stronger one."""

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from provider_agent import namespaces
from provider_agent.minder import control, layout, orders
from provider_agent.minder.orders import Cause, Order
from provider_agent.sandbox import cgroups
from provider_agent.sandbox.bubblewrap import Bubblewrap, OwnUsers
from provider_agent.sandbox.cgroups import find_cgroups
from provider_agent.sandbox.plain import PlainProcess
from provider_agent.sandbox.port import MEBIBYTE, Limits, Request, Sandbox
from provider_agent.sandbox.runtime import JobRuntime, UnusableRuntime, find_runtime

TRIAL_SECONDS_MAX = 20.0
_TRIAL = "exec ${1:-true} -c 'import sys'"


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """job_environment: the environment of jobs (`.venv-jobs`); uid_first + slot is an attempt's host uid as root.

    stage: a folder root may make on a path everyone can pass through; mounts go over it, never into it.
    """

    job_environment: Path | None
    uid_first: int = 200_000
    slots: int = 1_000
    stage: Path = Path("/run/gridbay-stage")
    search_path: str = "/usr/bin:/usr/local/bin:/bin"  # where bubblewrap is looked for; never a customer's choice


@dataclass(frozen=True, slots=True)
class Choice:
    """The sandbox to use, why this one, and what its owner should know."""

    sandbox: Sandbox
    why: str
    warnings: tuple[str, ...]


class NoSandbox(Exception):
    """No customer's command may run here; the message says why and how to mend it."""


def choose(config: SandboxConfig, scratch: Path, *, allow_plain: bool) -> Choice:
    """Try bubblewrap with a real minder in a folder below scratch; a plain process only where that is allowed.

    allow_plain: this is the owner's own embedded market, which runs the owner's own jobs only.
    """
    warnings: list[str] = []
    job_runtime = _find_runtime(config, warnings)
    complaint = "bubblewrap (bwrap) is not installed; install the package `bubblewrap`"
    program = shutil.which("bwrap", path=config.search_path)
    if program:
        sandbox = _bubblewrap(Path(program), config, job_runtime, warnings)
        failed = try_out(sandbox, scratch)
        if failed is None:
            return Choice(sandbox, f"{program} ran a command in every wall there is", tuple(warnings))
        complaint = f"{program} is there and does not work: {failed}"
    if not allow_plain:
        raise NoSandbox(f"{complaint}. Without it no customer's command is run on this node.")
    plain = PlainProcess(job_runtime, find_cgroups())
    failed = try_out(plain, scratch)
    if failed is not None:
        raise NoSandbox(f"{complaint}; and a plain process does not work either: {failed}")
    warnings.append("Jobs run as plain processes with this user's files and network in reach: run only your own.")
    return Choice(plain, complaint, tuple(warnings))


def try_out(sandbox: Sandbox, scratch: Path) -> str | None:
    """Run one small command (the job's Python, if there is one) to its end; None if it worked, else what it said."""
    with tempfile.TemporaryDirectory(prefix="sandbox-trial-", dir=scratch) as name:
        folder = Path(name)
        workdir = folder / "work"
        workdir.mkdir()
        has_python = getattr(sandbox, "runtime", None) is not None
        argv = ("/bin/sh", "-c", _TRIAL, "sh", "python") if has_python else ("/bin/true",)
        # Slot 0 is a real attempt's too; the trial lives in another folder and is over before one begins.
        request = Request(folder.name, argv, workdir, slot=0, limits=Limits(cpus=1, memory_bytes=512 * MEBIBYTE))
        try:
            order = Order(attempt_id=folder.name, command=sandbox.prepare(request), workdir=workdir, slot=0)
            orders.write_order(folder, order, layout.boottime_ns() + round(TRIAL_SECONDS_MAX * 1e9))
            control.launch(folder)
        except (OSError, control.LaunchFailed) as error:
            return str(error)
        try:
            return _wait(folder)
        finally:
            control.kill(folder)
            sandbox.clean_up(order)


def _wait(folder: Path) -> str | None:
    until = time.monotonic() + TRIAL_SECONDS_MAX
    while time.monotonic() < until:
        outcome = control.outcome(folder)
        if outcome is not None:
            if outcome.cause is Cause.EXITED and outcome.exit_code == 0:
                return None
            log = orders.log_path(folder)
            words = log.read_text(errors="replace")[-500:].strip() if log.exists() else ""
            return f"{outcome.cause}, exit code {outcome.exit_code}: {outcome.detail or words}"
        time.sleep(0.01)
    return f"a trial command did not end within {TRIAL_SECONDS_MAX:.0f} s"


def _find_runtime(config: SandboxConfig, warnings: list[str]) -> JobRuntime | None:
    if config.job_environment is None:
        return None
    try:
        return find_runtime(config.job_environment)
    except UnusableRuntime as error:
        warnings.append(f"Jobs find only the system's Python: {error}")
        return None


def _bubblewrap(
    program: Path, config: SandboxConfig, job_runtime: JobRuntime | None, warnings: list[str]
) -> Bubblewrap:
    users = None
    if namespaces.can_act_as(config.uid_first, config.slots):
        users = OwnUsers(config.uid_first, config.slots, config.stage)
    else:
        warnings.append("Not root: attempts share the agent's own user on the host (apart by namespaces).")
    groups = find_cgroups()
    if groups is not None:
        cgroups.sweep(groups, now=time.time())
    if groups is None:
        warnings.append("No cgroups may be made here: memory is watched once a second, CPU is not bounded.")
    elif groups.version == 2:
        warnings.append("cgroup v2: the limits are written as documented and were never proven on such a machine.")
    return Bubblewrap(program, job_runtime, users, groups)
