"""The children of a standalone market: the servers it brings itself, the chain, and every process of ours."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gridbay.standalone import engines
from gridbay.standalone.chain_keys import ChainKeys, chain_keys
from gridbay.standalone.children import Child, Tree
from gridbay.standalone.facts import url_of
from gridbay.standalone.state import MarketState
from infra.embedded.ports import LOOPBACK
from infra.embedded.postgres import Postgres
from infra.embedded.probe import Probe, http_probe
from infra.embedded.secret_file import ensure_secret
from infra.embedded.server import Server
from infra.embedded.valkey import Valkey

MIGRATE_SECONDS_MAX = 300.0
# Those that answer no question: one that cannot even load its code dies within this.
STEADY_SECONDS = 2.0
# -P keeps the working directory off the import path.
PYTHON = (sys.executable, "-P", "-m")
GRIDBAY = (*PYTHON, "gridbay.cli.main")
TREASURY_KEY = "GRIDBAY_TREASURY_KEYPAIR"
# What suits one machine and its owner: threads instead of worker processes, payouts of any size and to any address.
SMALL = {
    "GRIDBAY_WORKER_POOL": "threads",
    "GRIDBAY_WORKER_CONCURRENCY": "4",
    "GRIDBAY_PAYOUT_MIN_MICROUSD": "1",
    "GRIDBAY_WALLET_COOLDOWN_SECONDS": "0",
}


def market(state: MarketState, ports: Mapping[str, int], *, with_agent: bool) -> Tree:
    """The whole market, without the servers that a URL names. It makes the secrets that are not there yet."""
    servers = server_children(state, ports)
    keys = chain_keys(state.folder("chain"))
    environment = _environment(state, ports, keys)
    children = [*servers, *_process_children(state.root, ports, environment, keys)]
    if with_agent:
        children.append(_agent(state, environment))
    return Tree(_needed(children), secrets=_secrets(state))


def _needed(children: list[Child]) -> tuple[Child, ...]:
    """Without the servers that are given: they are there already, and nobody waits for them."""
    absent = {"postgres", "valkey", "storage"} - engines.own_children(engines.given(os.environ))
    return tuple(
        replace(child, needs=tuple(name for name in child.needs if name not in absent))
        for child in children
        if child.name not in absent
    )


def server_children(state: MarketState, ports: Mapping[str, int]) -> tuple[Child, Child]:
    """PostgreSQL and Valkey of this state folder."""
    # Their passwords first: the URLs in the other children's environments hold them.
    for name in ("postgres", "valkey"):
        state.folder(name).mkdir(mode=0o700, exist_ok=True)
        ensure_secret(state.folder(name) / "password")
    postgres = Postgres(state.folder("postgres"), ports["postgres"])
    valkey = Valkey(state.folder("valkey"), ports["valkey"])
    return _server("postgres", postgres, state), _server("valkey", valkey, state)


def _server(name: str, server: Postgres | Valkey, state: MarketState) -> Child:
    """It is prepared in its own process: nobody waits for it, and a crash is cleared up before each new start."""
    described: Server = server
    return Child(
        name=name,
        argv=(*PYTHON, "infra.embedded", name, str(server.folder), str(server.port)),
        env=_clean_environment(),
        cwd=state.root,
        probe=described.probe(),
        stop_signal=described.stop_signal,
    )


def _process_children(
    folder: Path, ports: Mapping[str, int], environment: Mapping[str, str], keys: ChainKeys
) -> list[Child]:
    def process(name: str, *, needs: tuple[str, ...] = (), probe: Probe | None = None) -> Child:
        argv = (*GRIDBAY, "process", name)
        return Child(
            name=name, argv=argv, env=environment, cwd=folder, needs=needs, probe=probe, steady_seconds=STEADY_SECONDS
        )

    migrate = replace(process("migrate", needs=("postgres",)), one_shot=True, ready_seconds=MIGRATE_SECONDS_MAX)
    # With two cores the API goes first: what works behind it starts once it answers.
    behind = ("api", "chain", "storage")
    worker = process("worker", needs=behind)
    return [
        process("chain", probe=_rpc_probe(ports["chain"])),
        process("storage", probe=http_probe(ports["storage"], "/health")),
        migrate,
        process("api", needs=("migrate", "valkey"), probe=http_probe(ports["api"], "/health")),
        process("relay", needs=behind),
        # It alone signs: a stolen portal has no key of the treasury.
        replace(worker, env={**environment, TREASURY_KEY: str(keys.treasury_keypair)}),
        process("consumer", needs=behind),
        process("beat", needs=behind),
    ]


def _agent(state: MarketState, environment: Mapping[str, str]) -> Child:
    """The provider on this machine. It dials the portal like any other and is told no password of the market."""
    known = {name: environment[name] for name in ("GRIDBAY_EMBEDDED", "GRIDBAY_STATE_DIR", "GRIDBAY_PUBLIC_URL")}
    return Child(
        name="agent",
        argv=(*GRIDBAY, "provider", "run", "--state", str(state.folder("agent"))),
        env={**_without(engines.CREDENTIALS, _clean_environment()), **known},
        cwd=state.root,
        needs=("api", "storage"),
        steady_seconds=STEADY_SECONDS,
        # Its pool and the minders of running attempts outlive it, and are adopted by the next one.
        sweep=False,
        stop_seconds=15.0,
    )


def _environment(state: MarketState, ports: Mapping[str, int], keys: ChainKeys) -> dict[str, str]:
    """What infra/settings.py reads, for the processes of the control plane."""
    valkey = Valkey(state.folder("valkey"), ports["valkey"])
    return {
        **_clean_environment(),
        **SMALL,
        # Settings of the operator go to the control plane, below what the state folder decides; URLs of servers above.
        **_without(TREASURY_KEY, {name: value for name, value in os.environ.items() if name.startswith("GRIDBAY_")}),
        "GRIDBAY_EMBEDDED": "1",
        "GRIDBAY_STATE_DIR": str(state.root),
        "GRIDBAY_DATABASE_URL": Postgres(state.folder("postgres"), ports["postgres"]).url(),
        "GRIDBAY_BROKER_URL": valkey.url(0),
        "GRIDBAY_USAGE_BUS_URL": valkey.url(1),
        "GRIDBAY_CACHE_URL": valkey.url(2),
        "GRIDBAY_STORAGE_URL": state.folder("storage").as_uri(),
        "GRIDBAY_STORAGE_PUBLIC_URL": url_of(ports["storage"]),
        "GRIDBAY_SOLANA_RPC_URLS": url_of(ports["chain"]),
        "GRIDBAY_USDC_MINT": keys.mint,
        "GRIDBAY_TREASURY_ADDRESS": keys.treasury,
        "GRIDBAY_SECRET_KEY_FILE": str(state.secret_key_file()),
        "GRIDBAY_PUBLIC_URL": url_of(ports["api"]),
        "GRIDBAY_BIND": f"{LOOPBACK}:{ports['api']}",
        **engines.given(os.environ),
    }


def _clean_environment() -> dict[str, str]:
    """The person's own environment without any setting of Gridbay, made for small Python processes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRIDBAY_")}
    # One arena for malloc saves tens of MB and costs nothing here; unbuffered, so that a last word is heard.
    return {**inherited, "PYTHONUNBUFFERED": "1", "MALLOC_ARENA_MAX": "2"}


def _without(beginning: str, environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(beginning)}


def _secrets(state: MarketState) -> tuple[str, ...]:
    files = (state.folder("postgres") / "password", state.folder("valkey") / "password", state.secret_key_file())
    return (*(path.read_text().strip() for path in files), *engines.passwords(engines.given(os.environ)))


def _rpc_probe(port: int) -> Probe:
    body = '{"jsonrpc":"2.0","id":1,"method":"getHealth"}'
    head = f"POST / HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return Probe(port, f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii"), b"HTTP/1.1 200")
