"""The daemon of a GPU host (`gridbay provider run`): all that it does at the same time, started and ended together."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from market.errors import MarketError, Unauthenticated, Unavailable
from market.resources import Inventory
from provider_agent.attempts.means import Launcher, Means
from provider_agent.attempts.registry import Registry
from provider_agent.attempts.transfer import Transfers
from provider_agent.config import Identity, StateFolder
from provider_agent.conversation import Conversation
from provider_agent.gauges import NodeGauges, serve
from provider_agent.gpus.catalogue import contradiction
from provider_agent.gpus.dcgm_exporter import WithDcgm
from provider_agent.gpus.detection import open_gpus
from provider_agent.gpus.inventory import node_inventory
from provider_agent.gpus.port import Gpus
from provider_agent.health.surroundings import Surroundings, own_processes, read_disk
from provider_agent.health.telling import Health
from provider_agent.health.watch import GpuWatch
from provider_agent.launching import PoolLauncher
from provider_agent.pacing import Backoff
from provider_agent.polling import WAIT_SECONDS, Polling
from provider_agent.pool.cluster import Pool
from provider_agent.pool.head import PoolConfig
from provider_agent.proving.proving import Proving
from provider_agent.reports import Reports
from provider_agent.sandbox.choice import Choice, NoSandbox, SandboxConfig, choose
from provider_agent.sandbox.port import Sandbox
from provider_agent.spool import Spool

INVENTORY_SECONDS = 5.0
EXPIRE_SECONDS = 3600.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How the owner runs it.

    allow_plain_sandbox: jobs may run as plain processes (one's own jobs on one's own embedded market, nothing else);
    job_runtime: the environment jobs find; isolate_pool: close Ray's ports in a network namespace; portal_url: where
    the portal is now, if not where it was at join; end_jobs_on_exit: nothing outlives this process's clean end;
    metrics_bind: host:port for Prometheus; dcgm_url: the metrics of DCGM's exporter on this machine.
    """

    allow_plain_sandbox: bool = False
    job_runtime: Path | None = None
    isolate_pool: bool = True
    portal_url: str | None = None
    end_jobs_on_exit: bool = False
    metrics_bind: str | None = None
    dcgm_url: str | None = None
    wait_seconds: float = WAIT_SECONDS


def run(state_dir: Path, options: Options) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises MarketError when it cannot start or its credential is refused."""
    folder = StateFolder(state_dir.absolute())
    identity = folder.identity()
    folder.prepare()
    with folder.held():
        choice = _choose_sandbox(folder, options)
        for warning in choice.warnings:
            _log.warning(warning)
        gpus = open_gpus(identity.simulate, folder.node_key().public_hex)
        if options.dcgm_url is not None:
            gpus = WithDcgm(gpus, options.dcgm_url)
        inventory = node_inventory(gpus, identity, folder.root, choice.sandbox.kind)
        _log.info("node", node_id=identity.node_id, sandbox=choice.sandbox.kind, gpus=gpus.note)
        launcher = PoolLauncher(_pool(folder, inventory, isolate=options.isolate_pool))
        agent = Agent(
            folder, identity, options, gpus=gpus, sandbox=choice.sandbox, launcher=launcher, inventory=inventory
        )
        agent.besides("pool", launcher.run)
        asyncio.run(agent.run())


def _choose_sandbox(folder: StateFolder, options: Options) -> Choice:
    try:
        return choose(SandboxConfig(options.job_runtime), folder.root, allow_plain=options.allow_plain_sandbox)
    except NoSandbox as error:
        raise Unavailable(str(error), remedy="see: gridbay provider doctor") from None


def _pool(folder: StateFolder, inventory: Inventory, *, isolate: bool) -> Pool:
    config = PoolConfig(
        folder.pool,
        cpus=inventory.cpu_milli / 1000,
        memory_bytes=inventory.memory_bytes,
        # A simulated device has a name in the pool's books, like a real one.
        gpu_uuids=tuple(facts.uuid for facts in inventory.gpus),
        isolate=isolate,
    )
    return Pool(config)


class Agent:
    """One running agent over given GPUs, sandbox and launcher."""

    def __init__(
        self,
        folder: StateFolder,
        identity: Identity,
        options: Options,
        *,
        gpus: Gpus,
        sandbox: Sandbox,
        launcher: Launcher,
        inventory: Inventory,
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._options = options
        self._gpus = gpus
        self._sandbox = sandbox
        self._launcher = launcher
        self._inventory = inventory
        self._watch = GpuWatch(gpus, inventory.gpus)
        self._besides: dict[str, Callable[[], Awaitable[None]]] = {}
        self._stop = asyncio.Event()

    def besides(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Something else that is to run as long as the agent does."""
        self._besides[name] = work

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        """Until it is told to stop. Raises Unauthenticated when the portal no longer accepts this node."""
        key = self._folder.node_key()
        portal_url = self._options.portal_url or self._identity.portal_url
        async with AsyncExitStack() as stack:
            conversation = await stack.enter_async_context(Conversation(portal_url, self._folder.credential(), key))
            transfers = await stack.enter_async_context(Transfers())
            spool = Spool(self._folder.spool)
            reports = Reports(conversation, spool, self._identity.node_id)
            means = Means(
                conversation=conversation,
                transfers=transfers,
                sandbox=self._sandbox,
                launcher=self._launcher,
                spool=spool,
                reports=reports,
                gpus=self._gpus,
                busy=self._watch.busy,
            )
            registry = Registry(self._folder.attempts, means)
            polling = Polling(conversation, registry, spool, self._launcher)
            health = Health(
                self._watch,
                lambda: self._surroundings(registry, polling),
                conversation,
                self._folder.root / "health.json",
            )
            work: dict[str, Callable[[], Awaitable[None]]] = {
                "polling": lambda: polling.run(self._options.wait_seconds),
                "reports": reports.run,
                "inventory": lambda: self._declare_changes(conversation),
                "health": health.run,
                "expiry": lambda: _expire(spool),
                "proofs": self._proving(conversation, registry).run,
                **self._besides,
            }
            self._listen_to_signals()
            self._watch.start()
            serve(self._options.metrics_bind, NodeGauges(registry, spool, self._watch, health))
            await registry.restore()
            try:
                await self._run_all(work)
            finally:
                self._watch.stop()
                await registry.close(end_attempts=self._options.end_jobs_on_exit)

    def _proving(self, conversation: Conversation, registry: Registry) -> Proving:
        """Proofs run where jobs find their GPU libraries, and where the agent itself runs."""
        runtime = self._options.job_runtime
        pythons = [runtime / "bin" / "python", None] if runtime is not None and self._inventory.gpus else [None]
        return Proving(conversation, registry.leased_gpus, pythons, self._folder.root)

    async def _run_all(self, work: dict[str, Callable[[], Awaitable[None]]]) -> None:
        tasks = {asyncio.create_task(_for_ever(name, job), name=name) for name, job in work.items()}
        stop = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
        for task in done - {stop}:
            task.result()

    async def _declare_changes(self, conversation: Conversation) -> None:
        """The inventory at the start, and again whenever it is another one: a card fell off the bus or came back."""
        declared: Inventory | None = None
        while True:
            inventory = self._inventory.model_copy(update={"gpus": list(self._watch.seen.facts)})
            if inventory != declared:
                await conversation.declare_inventory(inventory)
                if declared is not None:
                    _log.warning("the inventory changed", gpus=len(inventory.gpus))
                declared = inventory
            await asyncio.sleep(INVENTORY_SECONDS)

    def _surroundings(self, registry: Registry, polling: Polling) -> Surroundings:
        facts, leased = self._watch.seen.facts, registry.leased_gpus()
        doubts = {} if self._gpus.simulated else {fact.uuid: contradiction(fact) for fact in facts}
        return Surroundings(
            pool=frozenset(fact.uuid for fact in self._inventory.gpus),
            seen=self._watch.ever,
            leased=leased,
            own=own_processes(self._watch.seen.look, leased),
            contradictions={uuid: words for uuid, words in doubts.items() if words is not None},
            hung_seconds=self._watch.hung_seconds(),
            clock_off_seconds=polling.clock_off_seconds,
            disk=read_disk(self._folder.root),
        )

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)


async def _for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """One part of the agent, begun again after anything that is not the end of the whole."""
    backoff = Backoff()
    while True:
        try:
            await work()
        except Unauthenticated:
            raise
        except MarketError as error:
            _log.warning("will try again", part=name, error=error.detail)
        except Exception:
            _log.exception("a part of the agent stumbled; it begins again", part=name)
        await asyncio.sleep(backoff.next_seconds())


async def _expire(spool: Spool) -> None:
    while True:
        await asyncio.sleep(EXPIRE_SECONDS)
        spool.expire()
