"""No way out of the sandbox that is known here leads anywhere, whether the agent is root or a plain user."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from escape_probes import FILES, PROBES
from inside import CUSTOMER_SECRET, Jobs, probe_all
from plain_user import PLAIN_UID, as_plain_user

from provider_agent.sandbox.choice import Choice

# What any process of this user can do outside.
OPEN_OUTSIDE = (
    "read_a_file_of_the_host",
    "read_the_file_through_a_link",
    "find_the_file_anywhere",
    "read_another_attempts_work",
    "start_more_processes_than_allowed",
    "see_a_process_of_the_host",
    "see_more_than_ones_own_processes",
    "signal_the_agent",
    "read_the_environment_of_the_agent",
    "find_the_agents_secret_in_any_environment",
    "connect_to_the_hosts_loopback",
    "connect_to_an_abstract_socket",
    "connect_to_a_socket_file",
    "see_the_groups_of_the_host",
)


@pytest.fixture(scope="module")
def targets(open_folder: Path) -> Iterator[dict[str, Any]]:
    """Things on the host worth reaching, all of them there and open to the agent's user."""
    with ExitStack() as stack:
        secret = f"agents-canary-{secrets.token_hex(8)}"
        agent = subprocess.Popen(["/bin/sleep", "600"], env={"TOKEN": secret})
        stack.enter_context(agent)
        stack.callback(agent.kill)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract, file = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        abstract.bind(f"\0{secret}")
        file.bind(str(open_folder / "agent.sock"))
        (open_folder / "agent.sock").chmod(0o777)
        for listener in (abstract, file):
            listener.listen(8)
        host_file = open_folder / "host-file"
        host_file.write_text("of the host")
        other = open_folder / "attempt-other" / "work"
        other.mkdir(parents=True)
        (other / "result").write_text("of another")
        yield {
            "probes": None,
            "host_file": str(host_file),
            "other_work": str(other / "result"),
            "order": str(other.parent / "order.json"),
            "agent_pid": agent.pid,
            "agent_secret": secret,
            "customer_secret": CUSTOMER_SECRET,
            "tcp_port": tcp.getsockname()[1],
            "abstract_socket": secret,
            "socket_file": str(open_folder / "agent.sock"),
            "device": "/dev/kmsg",
        }


@pytest.fixture(scope="module")
def as_this_user(choice: Choice, targets: dict[str, Any], open_folder: Path) -> Iterator[dict[str, str]]:
    jobs = Jobs(open_folder, choice.sandbox)
    yield probe_all(jobs, targets)
    jobs.close()


@pytest.fixture(scope="module")
def as_a_plain_user(targets: dict[str, Any], open_folder: Path) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.skip("this user is a plain user: the other case proves it")
    folder = open_folder / "plain-user"
    folder.mkdir()
    os.chown(folder, PLAIN_UID, PLAIN_UID)
    file = open_folder / "plain-user.json"
    file.write_text(json.dumps(targets))
    script = Path(__file__).with_name("inside.py")
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin", "PYTHONPATH": str(script.parents[3]), "HOME": str(folder)}
    command = as_plain_user([sys.executable, "-B", str(script), str(folder), str(file)])
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    results: dict[str, str] = json.loads(ran.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("name", PROBES)
def test_no_way_out(as_this_user: dict[str, str], name: str) -> None:
    assert as_this_user[name].startswith("denied:"), as_this_user[name]


@pytest.mark.parametrize("name", PROBES)
def test_no_way_out_as_a_plain_user(as_a_plain_user: dict[str, str], name: str) -> None:
    assert as_a_plain_user[name].startswith("denied:"), as_a_plain_user[name]


def test_the_probes_find_a_way_where_there_is_one(targets: dict[str, Any], tmp_path: Path) -> None:
    """The control: a probe that can only fail would prove nothing."""
    file = tmp_path / "targets.json"
    file.write_text(json.dumps({**targets, "probes": OPEN_OUTSIDE, "processes_max": 8}))
    ran = subprocess.run([sys.executable, FILES[0], file], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    results: dict[str, str] = json.loads(ran.stdout)
    assert {name: result for name, result in results.items() if not result.startswith("got:")} == {}


def test_the_walls_stand_in_the_markets_own_namespace_too(targets: dict[str, Any], tmp_path: Path) -> None:
    """As in `gridbay up`: a PID namespace with a /proc of its own, whose numbers are not those of the minder's."""
    file = tmp_path / "targets.json"
    file.write_text(json.dumps({**targets, "probes": ["read_a_file_of_the_host", "see_more_than_ones_own_processes"]}))
    maps = [] if os.geteuid() == 0 else ["--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
    tree = ["unshare", *maps, "--pid", "--mount", "--mount-proc", "--fork", "--kill-child=KILL", "--"]
    # The low numbers are used up first: a pid of the minder's namespace then names nobody in this one.
    tree += ["sh", "-c", 'for i in 1 2 3 4 5 6 7 8; do /bin/true; done; exec "$@"', "sh"]
    script = [sys.executable, str(Path(__file__).with_name("inside.py")), str(tmp_path), str(file)]
    ran = subprocess.run([*tree, *script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert [result[:7] for result in json.loads(ran.stdout.splitlines()[-1]).values()] == ["denied:"] * 2


def test_there_are_enough_ways_tried() -> None:
    assert len(PROBES) >= 40
