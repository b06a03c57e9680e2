"""Owns the real sandbox: bubblewrap in namespaces of its own, under a user of its own where the agent is root.

As root the order is: root binds what only root can reach below a folder anyone may pass through (a mount namespace of
the attempt's own), becomes the attempt's unprivileged uid, and only then starts bubblewrap, in a user namespace. So
neither bubblewrap nor anything in it ever holds a right of root, and an interpreter below a 0700 home still works.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from provider_agent.minder.orders import Bind, Cgroup, Command, Order, Stage
from provider_agent.sandbox import cgroups, outputs, runtime, system_calls
from provider_agent.sandbox.cgroups import Cgroups
from provider_agent.sandbox.port import MEBIBYTE, WORK, Limits, Request, data_limited, thread_environment
from provider_agent.sandbox.runtime import JobRuntime

UID_INSIDE = 1000
SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64")  # besides /usr; links into it on a merged system
_OPTIONAL_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts")
_FIRST_FD = 3
_SAFE_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class OwnUsers:
    """As root: the uids of attempts (first + slot) and the empty folder over which their mounts are staged."""

    first: int
    count: int
    stage: Path


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """users: None as a plain user; groups: None where no cgroup may be made."""

    program: Path
    runtime: JobRuntime | None
    users: OwnUsers | None
    groups: Cgroups | None
    kind = "bubblewrap"

    def bounds(self) -> dict[str, str]:
        group = f"cgroup v{self.groups.version}" if self.groups else None
        if isinstance(self.groups, cgroups.CgroupsV2):
            group = "cgroup v2 (unproven)"
        return {
            "files": "mount namespace" + (f", uids from {self.users.first}" if self.users else ", the agent's own uid"),
            "network": "network namespace without any interface but loopback",
            "system calls": "seccomp" if system_calls.filter_program() else "none: no filter for this architecture",
            "memory": group or "RLIMIT_DATA per process and the minder's watch over all",
            "processes": group or "RLIMIT_NPROC of the sandbox's user namespace",
            "cpu": group or "thread counts only",
        }

    def prepare(self, request: Request) -> Command:
        sources = {"work": request.workdir.resolve()}
        if self.runtime:
            sources["jobs"] = self.runtime.environment
            if self.runtime.base:
                sources["python"] = self.runtime.base
        stage = uid = None
        if self.users:
            if not 0 <= request.slot < self.users.count:
                raise ValueError(f"slot {request.slot} has no uid: slots go from 0 to {self.users.count - 1}")
            uid = self.users.first + request.slot
            self.users.stage.mkdir(mode=0o755, exist_ok=True)
            stage = Stage(at=self.users.stage, binds=[Bind(source=path, name=name) for name, path in sources.items()])
            sources = {name: self.users.stage / name for name in sources}
            outputs.hand_over(request.workdir, uid)
        contents = _Contents()
        options = [*self._options(request, sources, contents)]
        arguments = contents.add("\0".join(options))
        outer, inner = self._limits(request.limits)
        return Command(
            argv=(*outer, str(self.program), "--args", str(arguments), "--", *inner, *request.argv),
            # The customer's environment is only for inside: LD_PRELOAD here would run code of theirs before the walls.
            environment={"PATH": _SAFE_PATH, "LC_ALL": "C.UTF-8"},
            descriptors=contents.by_number,
            directory=Path("/"),
            uid=uid,
            stage=stage,
            cgroup=self.groups.make(request.attempt_id, request.limits) if self.groups else Cgroup(),
            sandbox_levels=2,  # bubblewrap itself, and the first process of its PID namespace
            memory_watch_bytes=None if self.groups else request.limits.memory_bytes,
        )

    def clean_up(self, order: Order) -> None:
        cgroups.remove(order.command.cgroup)

    def _limits(self, limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What no group holds: set before bubblewrap, and inside, where processes count per user namespace."""
        if self.groups:
            return (), ()
        processes = f"--nproc={limits.processes_max}:{limits.processes_max}"
        return data_limited(limits.memory_bytes), ("/usr/bin/prlimit", processes, "--")

    def _options(self, request: Request, sources: dict[str, Path], contents: "_Contents") -> list[str]:
        scratch = str(min(request.limits.scratch_bytes, request.limits.memory_bytes))
        options = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
        options += ["--uid", str(UID_INSIDE), "--gid", str(UID_INSIDE), "--cap-drop", "ALL", "--hostname", "gridbay"]
        options += ["--ro-bind", "/usr", "/usr", *_system_folders()]
        for path in _OPTIONAL_FILES:
            options += ["--ro-bind-try", path, path]
        # Plain files: the root is read-only in the end. A mount of each would have bubblewrap read all mounts again.
        for path, text in _ACCOUNTS.items():
            options += ["--perms", "0444", "--file", str(contents.add(text)), path]
        options += ["--proc", "/proc", "--dev", "/dev", "--size", scratch, "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
        for device in request.devices:
            options += ["--dev-bind", str(device), str(device)]
        options += ["--remount-ro", "/dev", "--size", scratch, "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108
        options += self._runtime_options(sources, contents)
        options += ["--bind", str(sources["work"]), str(WORK), "--chdir", str(WORK), "--remount-ro", "/", "--clearenv"]
        for name, value in self._environment(request).items():
            options += ["--setenv", name, value]
        program = system_calls.filter_program()
        if program:
            options += ["--seccomp", str(contents.add(program.decode("latin-1")))]
        return options

    def _runtime_options(self, sources: dict[str, Path], contents: "_Contents") -> list[str]:
        if self.runtime is None:
            return []
        options = ["--ro-bind", str(sources["jobs"]), str(runtime.INSIDE)]
        if self.runtime.base:
            options += ["--ro-bind", str(sources["python"]), str(runtime.BASE_INSIDE)]
            # An interpreter looks for its libpython where it was built to be, and would silently take the system's.
            for name in self.runtime.libraries:
                library = runtime.BASE_INSIDE / "lib" / name
                options += ["--symlink", str(library), str(runtime.LIBRARIES_INSIDE / name)]
        configuration = contents.add(self.runtime.configuration_inside())
        options += ["--ro-bind-data", str(configuration), str(runtime.INSIDE / "pyvenv.cfg")]
        # The environment's own bin holds links to where its interpreter lies on the host: give it new ones.
        programs = runtime.INSIDE / "bin"
        options += ["--size", str(MEBIBYTE), "--tmpfs", str(programs)]
        for name in ("python", "python3", self.runtime.interpreter.name):
            options += ["--symlink", str(self.runtime.interpreter_inside), str(programs / name)]
        return [*options, "--remount-ro", str(programs)]

    def _environment(self, request: Request) -> dict[str, str]:
        path = f"{runtime.INSIDE / 'bin'}:{_SAFE_PATH}" if self.runtime else _SAFE_PATH
        libraries = (
            {"LD_LIBRARY_PATH": str(runtime.LIBRARIES_INSIDE)} if self.runtime and self.runtime.libraries else {}
        )
        return {
            "PATH": path,
            **libraries,
            "HOME": str(WORK),
            "USER": "job",
            "LOGNAME": "job",
            "TMPDIR": "/tmp",  # noqa: S108 (the sandbox's own)
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": "/tmp/.matplotlib",  # noqa: S108
            "XDG_CACHE_HOME": "/tmp/.cache",  # noqa: S108
            **thread_environment(request.limits.cpus),
            **request.environment,
        }


_ACCOUNTS = {
    "/etc/passwd": f"job:x:{UID_INSIDE}:{UID_INSIDE}:job:{WORK}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "/etc/group": f"job:x:{UID_INSIDE}:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1 localhost gridbay\n::1 localhost\n",
}


class _Contents:
    """What bubblewrap reads from descriptors, so that it shows on no command line."""

    def __init__(self) -> None:
        self.by_number: dict[int, str] = {}

    def add(self, text: str) -> int:
        number = _FIRST_FD + len(self.by_number)
        self.by_number[number] = text
        return number


@cache
def _system_folders() -> tuple[str, ...]:
    options: list[str] = []
    for name in SYSTEM_FOLDERS:
        path = Path("/", name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return tuple(options)
