"""Each command is loaded only when it is run, so that the command line starts fast and a base installation suffices."""

import importlib
import json
import subprocess
import sys

import pytest
import typer
from typed_command import Gridbay

from gridbay.cli import main, process, provider
from gridbay.cli.lazy import Entry, NotLoadedYet

ENTRIES = (*main.ENTRIES, *provider.ENTRIES)
SERVERS = {"sqlalchemy", "fastapi", "celery", "ray", "solders", "psycopg", "numpy", "pandas", "structlog", "redis"}


def loaded_by(*arguments: str) -> set[str]:
    """The packages that a command loads, in a process of its own."""
    program = (
        "import sys, json, contextlib\n"
        "from gridbay.cli.main import main\n"
        "with contextlib.suppress(SystemExit): main(sys.argv[1:])\n"
        "sys.stderr.write('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(run.stderr.splitlines()[-1]))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.target}")
def test_the_list_says_of_a_command_what_it_says_itself(entry: Entry) -> None:
    command = NotLoadedYet(entry).load()
    if entry.name != "job":
        assert (command.help or "").splitlines()[0] == entry.help


def test_help_loads_no_command() -> None:
    loaded = loaded_by("--help")
    assert not loaded & {"httpx", "pydantic", *SERVERS}


@pytest.mark.parametrize("command", [("offers",), ("run", "--help"), ("jobs",), ("receipt", "verify", "--help")])
def test_a_customer_needs_no_server_and_no_agent(command: tuple[str, ...]) -> None:
    assert not loaded_by(*command) & (SERVERS | {"provider_agent", "billing", "scheduler"})


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.target)
def test_every_command_explains_itself(entry: Entry, gridbay: Gridbay) -> None:
    group = ["provider"] if entry in provider.ENTRIES else []
    ended = gridbay(*group, entry.name, "--help")
    assert ended.code == 0
    assert "Usage: gridbay" in ended.out
    assert "install-completion" not in ended.out


def test_a_mistyped_command_is_guessed(gridbay: Gridbay) -> None:
    ended = gridbay("ofers")
    assert ended.code == 2
    assert "Did you mean 'offers'?" in ended.err


def test_completion_knows_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"_GRIDBAY_COMPLETE": "complete_bash", "COMP_WORDS": "gridbay pro", "COMP_CWORD": "1"}
    run = subprocess.run(
        [sys.executable, "-m", "gridbay.cli.main"], env=environment, capture_output=True, text=True, check=False
    )
    assert "provider" in run.stdout


def test_a_process_is_found_by_its_name(gridbay: Gridbay) -> None:
    assert {"api", "worker", "migrate", "chain"} <= set(process.known_processes())
    for name in ("nope", "../cli/main", "contexts", "signals", "os"):
        ended = gridbay("process", name)
        assert (ended.code, "one of: api, beat" in ended.err) == (2, True)


def test_a_process_is_run(gridbay: Gridbay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local chain refuses to start without a state folder: its own words, from its own main."""
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "gridbay.cli.main", "process", "chain"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "GRIDBAY_STATE_DIR is not set" in ended.stderr


def test_version(gridbay: Gridbay) -> None:
    assert gridbay("version").out == gridbay("--version").out
    assert gridbay("version").out.startswith("gridbay 0.")


def test_every_listed_target_exists() -> None:
    for entry in ENTRIES:
        module, _, attribute = entry.target.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, typer.Typer) or callable(found)
