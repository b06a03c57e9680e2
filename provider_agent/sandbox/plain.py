"""Owns the sandbox that is none: a plain process with limits, for one's own jobs on one's own embedded market."""

import os
from dataclasses import dataclass
from pathlib import Path

from provider_agent.minder.orders import Cgroup, Command, Order
from provider_agent.sandbox import cgroups
from provider_agent.sandbox.cgroups import Cgroups
from provider_agent.sandbox.port import Request, data_limited, thread_environment
from provider_agent.sandbox.runtime import JobRuntime


@dataclass(frozen=True, slots=True)
class PlainProcess:
    """Runs the command as the agent's own user, with its files and its network in reach."""

    runtime: JobRuntime | None
    groups: Cgroups | None
    kind = "plain"

    def bounds(self) -> dict[str, str]:
        return {
            "files": "none",
            "network": "none",
            "memory": f"cgroup v{self.groups.version}" if self.groups else "RLIMIT_DATA and the minder's watch",
            "cpu": f"cgroup v{self.groups.version}" if self.groups else "thread counts only",
        }

    def prepare(self, request: Request) -> Command:
        path = "/usr/local/bin:/usr/bin:/bin"
        if self.runtime:
            path = f"{self.runtime.environment / 'bin'}:{path}"
        environment = {
            "PATH": path,
            "HOME": str(request.workdir),
            "TMPDIR": str(request.workdir),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "MPLCONFIGDIR": str(request.workdir / ".matplotlib"),
            "MPLBACKEND": "Agg",
            **thread_environment(request.limits.cpus),
            **request.environment,
        }
        memory_bytes = request.limits.memory_bytes
        limited = () if self.groups else data_limited(memory_bytes)
        return Command(
            argv=(*limited, "/usr/bin/env", "--", *request.argv),
            environment=environment,
            directory=Path(os.path.abspath(request.workdir)),  # noqa: PTH100 (the path as it is called, links kept)
            cgroup=self.groups.make(request.attempt_id, request.limits) if self.groups else Cgroup(),
            memory_watch_bytes=None if self.groups else memory_bytes,
        )

    def clean_up(self, order: Order) -> None:
        cgroups.remove(order.command.cgroup)
