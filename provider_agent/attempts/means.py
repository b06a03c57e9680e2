"""What every attempt works with: the conversation, storage, the sandbox, the pool, the spool and the GPUs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from provider_agent.attempts.transfer import Transfers
from provider_agent.conversation import Conversation
from provider_agent.gpus.busy import GpuBusy
from provider_agent.gpus.port import Gpus
from provider_agent.reports import Reports
from provider_agent.sandbox.port import Sandbox
from provider_agent.spool import Spool

PoolState = Literal["starting", "ready", "down"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What an attempt takes of its node while it runs."""

    attempt_id: str
    gpu_uuids: tuple[str, ...]
    cpu_milli: int
    memory_bytes: int


class Launcher(Protocol):
    """The port to whatever reserves a node's resources and starts minders: the provider's Ray pool."""

    @property
    def state(self) -> PoolState: ...

    def expect(self, needs: Needs) -> None:
        """An attempt is being prepared: what it needs may be reserved meanwhile. Saying it again changes nothing."""
        ...

    async def launch(self, attempt_dir: Path, needs: Needs) -> None:
        """Reserve, start the minder, and return once it lives. Calling it again changes nothing.

        Raises minder.launcher.LaunchFailed (AlreadyStarted where it has or had a minder), Unreachable for a pool
        that is not there at the moment.
        """
        ...

    def adopt(self, needs: Needs) -> None:
        """An attempt that a former agent launched still runs: its resources are to be reserved as soon as possible."""
        ...

    async def release(self, attempt_id: str) -> None:
        """Give the reservation back; nothing happens when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """Shared by all attempts of one agent."""

    conversation: Conversation
    transfers: Transfers
    sandbox: Sandbox
    launcher: Launcher
    spool: Spool
    reports: Reports
    gpus: Gpus
    busy: GpuBusy
