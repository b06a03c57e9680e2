"""The market's own tree: every process gets the settings it needs, and no secret goes where it must not."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gridbay.standalone import tree
from gridbay.standalone.children import Tree
from gridbay.standalone.state import MarketState
from infra.secrets import SecretBox
from infra.settings import Settings


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> MarketState:
    return MarketState.open(tmp_path_factory.mktemp("market"))


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def build(state: MarketState, *, with_agent: bool = True) -> Tree:
    return tree.market(state, state.choose_ports(), with_agent=with_agent)


def test_the_settings_of_every_process_are_those_of_the_state_folder(state: MarketState) -> None:
    with environment({"GRIDBAY_PUBLIC_URL": "http://elsewhere", "GRIDBAY_EPOCH_SECONDS": "7"}):
        built = build(state)
    ports = state.choose_ports()
    process = next(child for child in built.children if child.name == "worker")
    with environment(dict(process.env)):
        settings = Settings()
    assert settings.embedded
    assert settings.state_dir == state.root
    assert f":{ports['postgres']}/gridbay" in settings.database_url.get_secret_value()
    urls = (settings.broker_url, settings.usage_bus_url, settings.cache_url)
    assert [url.get_secret_value().rpartition(":")[2] for url in urls] == [f"{ports['valkey']}/{n}" for n in range(3)]
    assert settings.storage_url == f"file://{state.root}/storage"
    assert settings.solana_rpc_urls == [f"http://127.0.0.1:{ports['chain']}"]
    assert settings.bind == f"127.0.0.1:{ports['api']}"
    assert settings.public_url == f"http://{settings.bind}"
    assert settings.treasury_keypair is not None
    assert settings.treasury_keypair.stat().st_mode & 0o777 == 0o600
    assert SecretBox.from_file(settings.secret_key_file)
    assert settings.epoch_seconds == 7, "what the state does not decide is the operator's"


def test_the_chains_addresses_stay_from_start_to_start(state: MarketState) -> None:
    mints = {next(c for c in build(state).children if c.name == "api").env["GRIDBAY_USDC_MINT"] for _ in range(2)}
    assert len(mints) == 1


def test_no_secret_is_in_a_command_line_nor_anywhere_near_the_agent(state: MarketState) -> None:
    built = build(state)
    assert len(built.secrets) == 3
    agent = built.children[-1]
    assert agent.name == "agent"
    for secret in built.secrets:
        assert secret not in repr([child.argv for child in built.children])
        assert secret not in repr(agent.env)
    assert agent.env["GRIDBAY_PUBLIC_URL"].startswith("http://127.0.0.1:")


def test_the_treasurys_key_is_where_it_signs_and_nowhere_else(state: MarketState) -> None:
    with environment({"GRIDBAY_TREASURY_KEYPAIR": "/elsewhere/key.json"}):
        children = build(state).children
    told = {child.name for child in children if "treasury.json" in repr(child.env) or "key.json" in repr(child.env)}
    assert told == {"worker"}
    assert next(child for child in children if child.name == "api").env["GRIDBAY_TREASURY_ADDRESS"]


def test_without_an_agent_there_is_none(state: MarketState) -> None:
    names = {child.name for child in build(state, with_agent=False).children}
    assert names == {"postgres", "valkey", "chain", "storage", "migrate", "api", "relay", "worker", "consumer", "beat"}


def test_servers_that_a_url_names_are_used_and_not_started(state: MarketState) -> None:
    urls = {
        "GRIDBAY_DATABASE_URL": "postgresql+psycopg://me:pass-1@db/x",
        "GRIDBAY_BROKER_URL": "amqp://me:pass-2@mq/",
        "GRIDBAY_USAGE_BUS_URL": "amqp://me:pass-2@mq/",
        "GRIDBAY_STORAGE_URL": "s3://bucket/x",
    }
    with environment({**urls, "AWS_SECRET_ACCESS_KEY": "pass-3"}):
        some = build(state)
        with environment({"GRIDBAY_CACHE_URL": "redis://cache/0"}):
            all_of_them = build(state)
    ours = {"chain", "migrate", "api", "relay", "worker", "consumer", "beat", "agent"}
    assert {child.name for child in some.children} == ours | {"valkey"}, "the cache is still its own"
    assert {child.name for child in all_of_them.children} == ours
    worker = next(child for child in all_of_them.children if child.name == "worker")
    assert {name: worker.env[name] for name in urls} == urls
    assert worker.env["AWS_SECRET_ACCESS_KEY"] == "pass-3"
    assert {"pass-1", "pass-2"} <= set(all_of_them.secrets)
    assert "pass-" not in repr(all_of_them.children[-1].env), "the agent is told no password"


def test_nothing_but_what_a_market_needs_is_made_in_the_folder(state: MarketState) -> None:
    build(state)
    made = {path.relative_to(state.root).parts[0] for path in state.root.rglob("*")}
    assert made == {"version", "logs", "market.json", "secret.key", "postgres", "valkey", "chain"}
    secrets = list(state.root.rglob("*password"))
    assert secrets
    assert all(path.stat().st_mode & 0o077 == 0 for path in secrets)
