"""The checklist of a GPU host, for `gridbay provider join` and `doctor`: each line with why and how to mend."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from market.errors import MarketError
from provider_agent import namespaces
from provider_agent.config import StateFolder
from provider_agent.gpus.detection import open_gpus
from provider_agent.gpus.inventory import Capacity, measure
from provider_agent.gpus.port import Gpus
from provider_agent.health.once import conditions_at_a_look
from provider_agent.sandbox.cgroups import find_cgroups
from provider_agent.sandbox.choice import Choice, NoSandbox, SandboxConfig, choose
from provider_agent.sandbox.runtime import UnusableRuntime, find_runtime

PYTHON_MIN = (3, 11)
MEMORY_MIN_BYTES = 2 * 10**9
MEMORY_GOOD_BYTES = 4 * 10**9
DISK_MIN_BYTES = 5 * 10**9
DISK_GOOD_BYTES = 50 * 10**9
FILES_MIN = 1024
FILES_GOOD = 4096
CLOCK_GOOD_SECONDS = 5
CLOCK_MAX_SECONDS = 300
PORTAL_SECONDS_MAX = 10.0
DRIVER = "an NVIDIA driver (NVML), if there are GPUs to offer"
WHY_GPUS = "GPUs are offered as the driver shows them; without any, this node offers its CPUs"
_GB = 10**9
FIND_SECONDS_MAX = 30.0
_FIND_ENGINE = "import importlib.util as u; print(next((n for n in ('cupy', 'torch') if u.find_spec(n)), ''))"


class Level(StrEnum):
    PASS = "PASS"  # noqa: S105 (not a password)
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line. actual: what is here; required: what is asked for; why it matters; mend: what to do, "" when well."""

    name: str
    level: Level
    actual: str
    required: str
    why: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be looked at. portal_url: None leaves the portal out."""

    state_dir: Path
    portal_url: str | None = None
    simulate: str | None = None
    job_runtime: Path | None = None
    allow_plain_sandbox: bool = False


class Checklist:
    """Runs the checks one by one, so that they can be shown as they come; `sandbox_kind` is known afterwards."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._folder = StateFolder(subject.state_dir.absolute())
        self.sandbox_kind: str | None = None

    def run(self) -> Iterator[Check]:
        """Each check as it is done; the sandbox's takes about a second, the portal's up to ten when it is not there."""
        self._folder.prepare()
        yield _python()
        yield _users()
        yield self._sandbox()
        yield _cgroups()
        measured = measure(self._folder.root)
        yield _memory(measured)
        yield _disk(measured, self._folder.root)
        yield _open_files()
        yield from self._gpus()
        yield self._job_runtime()
        if self._subject.portal_url is not None:
            yield from _portal(self._subject.portal_url)

    def _sandbox(self) -> Check:
        why = "a customer's command must not see this host's files, processes or network"
        required = "bubblewrap, proven by running a command in it"
        config = SandboxConfig(self._subject.job_runtime)
        try:
            choice: Choice = choose(config, self._folder.root, allow_plain=self._subject.allow_plain_sandbox)
        except NoSandbox as error:
            return Check("sandbox", Level.FAIL, str(error), required, why, "install the package `bubblewrap`")
        self.sandbox_kind = choice.sandbox.kind
        if choice.sandbox.kind == "plain":
            mend = "install the package `bubblewrap`; until then run only your own jobs"
            return Check("sandbox", Level.WARN, f"plain processes: {choice.why}", required, why, mend)
        return Check("sandbox", Level.PASS, choice.why, required, why)

    def _gpus(self) -> Iterator[Check]:
        try:
            gpus = open_gpus(self._subject.simulate, self._folder.node_key().public_hex)
        except MarketError as error:
            yield Check("gpus", Level.FAIL, error.detail, DRIVER, WHY_GPUS, error.remedy)
            return
        yield _found(gpus)
        # One bad card of eight is told, and in quarantine; the others are offered.
        for condition in conditions_at_a_look(gpus):
            advice = condition.advice
            actual = (
                f"{condition.gpu_uuid or 'all'}: {advice.reason}{f' ({condition.detail})' if condition.detail else ''}"
            )
            why = "nothing is placed on it meanwhile" if advice.quarantines else "it is offered all the same"
            yield Check("gpu health", Level.WARN, actual, "nothing stands against it", why, advice.remedy)
        if gpus.facts() and not gpus.simulated:
            yield _proof(self._subject.job_runtime)

    def _job_runtime(self) -> Check:
        why = "customers' Python jobs find their packages in it, read-only, and never the platform's own"
        required = "an environment for jobs"
        environment = self._subject.job_runtime
        if environment is None:
            mend = "make one with `make setup` and name it with --job-runtime"
            return Check("job runtime", Level.WARN, "none: jobs find the system's Python", required, why, mend)
        try:
            found = find_runtime(environment)
        except UnusableRuntime as error:
            return Check("job runtime", Level.FAIL, str(error), required, why, "make it anew with `make setup`")
        return Check("job runtime", Level.PASS, f"Python {found.version} in {environment}", required, why)


def _found(gpus: Gpus) -> Check:
    if gpus.simulated:
        return Check("gpus", Level.WARN, gpus.note, DRIVER, WHY_GPUS, "leave --simulate out to offer what is here")
    if not gpus.facts():
        mend = "if there is an NVIDIA GPU here, install its driver: `nvidia-smi` must list it"
        return Check("gpus", Level.WARN, gpus.note, DRIVER, WHY_GPUS, mend)
    return Check("gpus", Level.PASS, gpus.note, DRIVER, WHY_GPUS)


def _proof(job_runtime: Path | None) -> Check:
    """Whether one of the Pythons that a proof runs under has a library for it; nothing of a GPU is touched."""
    why = "only what has proven itself is called verified, and a GPU that was in quarantine comes back by a proof alone"
    required = "CuPy, or PyTorch"
    pythons = [job_runtime / "bin" / "python"] if job_runtime is not None else []
    for python in (*pythons, Path(sys.executable)):
        with suppress(OSError, subprocess.SubprocessError):
            looked = subprocess.run(
                [python, "-I", "-c", _FIND_ENGINE], capture_output=True, text=True, timeout=FIND_SECONDS_MAX, check=True
            )
            if found := looked.stdout.strip():
                return Check("proof of gpus", Level.PASS, f"{found}, under {python}", required, why)
    mend = "install cupy-cuda12x (or torch) into the environment of jobs, or the agent's own"
    return Check("proof of gpus", Level.WARN, "neither is here", required, why, mend)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    level = Level.PASS if sys.version_info[:2] >= PYTHON_MIN else Level.FAIL
    required = f"{PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer"
    mend = "" if level is Level.PASS else f"install Python {required} and set the agent up with it"
    return Check("python", level, version, required, "the agent and its pool are written for it", mend)


def _users() -> Check:
    why = "each attempt should have a user of its own on this host; a plain user needs user namespaces"
    required = "root, or unprivileged user namespaces"
    config = SandboxConfig(None)
    if namespaces.can_act_as(config.uid_first, config.slots):
        actual = f"root, with uids {config.uid_first} to {config.uid_first + config.slots - 1} for attempts"
        return Check("isolation of users", Level.PASS, actual, required, why)
    if not _may_unshare_users():
        mend = "as root: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000, or run as root"
        return Check("isolation of users", Level.FAIL, "no user namespaces for this user", required, why, mend)
    mend = "run the agent as root, so that each attempt gets a host user of its own"
    return Check("isolation of users", Level.WARN, "user namespaces; attempts share this user", required, why, mend)


def _may_unshare_users() -> bool:
    """By trying, in a process of its own: this one must stay where it is."""
    flags = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWPID
    trial = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({flags}) != 0)"
    return subprocess.run([sys.executable, "-I", "-S", "-c", trial], check=False, timeout=20).returncode == 0


def _cgroups() -> Check:
    why = "memory, CPU and processes of an attempt are bounded by the kernel, not only watched"
    required = "cgroups this process may make"
    groups = find_cgroups()
    if groups is None:
        mend = "run as root, or let systemd delegate memory, pids and cpu to the agent's unit (Delegate=yes)"
        return Check("cgroups", Level.WARN, "none: limits are watched once a second", required, why, mend)
    if groups.version == 2:
        mend = "watch the first jobs: this writer was never proven on a v2 machine"
        return Check("cgroups", Level.WARN, "v2", required, why, mend)
    return Check("cgroups", Level.PASS, f"v{groups.version}", required, why)


def _memory(measured: Capacity) -> Check:
    return _amount(
        "memory", measured.memory_bytes, MEMORY_MIN_BYTES, MEMORY_GOOD_BYTES, "the pool itself takes about 0.4 GB"
    )


def _disk(measured: Capacity, root: Path) -> Check:
    why = f"working directories and outputs of jobs lie in {root}"
    return _amount("disk", measured.disk_bytes, DISK_MIN_BYTES, DISK_GOOD_BYTES, why)


def _amount(name: str, there: int, least: int, good: int, why: str) -> Check:
    level = Level.PASS if there >= good else Level.WARN if there >= least else Level.FAIL
    required = f"{least / _GB:.0f} GB, better {good / _GB:.0f} GB"
    mend = "" if level is Level.PASS else f"free or add {name}"
    return Check(name, level, f"{there / _GB:.1f} GB after the reserve", required, why, mend)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reachable = hard if hard != resource.RLIM_INFINITY else FILES_GOOD
    level = Level.PASS if reachable >= FILES_GOOD else Level.WARN if reachable >= FILES_MIN else Level.FAIL
    mend = "" if level is Level.PASS else "raise the limit: ulimit -Hn 65536, or LimitNOFILE= in the agent's unit"
    why = "the pool and each attempt hold files and sockets open"
    return Check("open files", level, f"{soft} (at most {reachable})", f"{FILES_GOOD}", why, mend)


def _portal(portal_url: str) -> Iterator[Check]:
    why = "the agent dials out to the portal, and to nobody else but its storage"
    sent = datetime.now(UTC)
    try:
        response = httpx.get(f"{portal_url.rstrip('/')}/health", timeout=PORTAL_SECONDS_MAX)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        mend = "check the address, the network, and HTTPS_PROXY if there is a proxy"
        actual = f"{portal_url}: {type(error).__name__} {error}".rstrip()
        yield Check("portal", Level.FAIL, actual, "reachable", why, mend)
        return
    level = Level.PASS if response.is_success else Level.WARN
    mend = "" if level is Level.PASS else "its operator is told by /health what is wrong; join again later"
    yield Check("portal", level, f"{portal_url} answers {response.status_code}", "reachable", why, mend)
    yield _encryption(portal_url)
    yield _clock(response.headers.get("Date"), sent)


def _encryption(portal_url: str) -> Check:
    why = "the node's credential travels in each request"
    required = "https, or this machine itself"
    parts = urlsplit(portal_url)
    if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
        return Check("encryption", Level.PASS, parts.scheme, required, why)
    return Check("encryption", Level.WARN, "http across a network", required, why, "use the portal's https address")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _clock(date: str | None, sent: datetime) -> Check:
    why = "no money rests on this clock, but certificates and logs do"
    required = f"within {CLOCK_GOOD_SECONDS} s of the portal's"
    try:
        there = parsedate_to_datetime(date or "").astimezone(UTC)
    except ValueError:
        return Check("clock", Level.WARN, "the portal does not tell its time", required, why, "compare it by hand")
    # The header has whole seconds, and the answer took its time.
    slack = 1 + (datetime.now(UTC) - sent).total_seconds()
    apart = max(0.0, abs((there - sent).total_seconds()) - slack)
    level = Level.PASS if apart <= CLOCK_GOOD_SECONDS else Level.WARN if apart <= CLOCK_MAX_SECONDS else Level.FAIL
    mend = "" if level is Level.PASS else "let the machine set its clock: timedatectl set-ntp true"
    return Check("clock", level, f"{apart:.0f} s apart", required, why, mend)
