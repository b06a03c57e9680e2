"""The tree's namespace: its own pids and /proc, and room inside for the sandboxes of jobs."""

import subprocess
import sys

from users import as_user

ENTER = """
import os, sys
from gridbay.standalone.namespace import find_isolation
argv = find_isolation().wrap(sys.argv[1:])
os.execvp(argv[0], argv)
"""
LOOPBACK_WORKS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname(), timeout=5)
client.close()
server.close()
print("loopback works")
"""


def inside(user: str, *argv: str) -> str:
    command = as_user(user, [sys.executable, "-P", "-c", ENTER, *argv])
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd="/")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_process_is_pid_1_and_sees_nobody_else(user: str) -> None:
    script = "import os; print(os.getpid(), sorted(int(name) for name in os.listdir('/proc') if name.isdecimal()))"
    assert inside(user, sys.executable, "-c", script) == "1 [1]\n"


def test_the_user_stays_who_it_is(user: str) -> None:
    own = as_user(user, ["id", "-u"])
    assert inside(user, "id", "-u") == subprocess.run(own, capture_output=True, text=True, check=True).stdout


def test_bubblewrap_works_inside_with_a_network_of_its_own(user: str) -> None:
    sandbox = ("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev")
    assert inside(user, *sandbox, sys.executable, "-c", LOOPBACK_WORKS) == "loopback works\n"


def test_nested_user_network_and_pid_namespaces_work_inside(user: str) -> None:
    nested = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--", "sh", "-c")
    assert inside(user, *nested, "ip link set lo up && echo $$ && cat /sys/class/net/lo/flags").startswith("1\n0x9")
