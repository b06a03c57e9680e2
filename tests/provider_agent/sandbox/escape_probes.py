"""Ways out of a sandbox, tried from inside: each returns what it got, or raises because it was denied.

Run as `python3 escape_probes.py TARGETS.json` inside; prints one JSON object: probe -> "denied: ..." or "got: ...".
They stop at having the way open: what would harm a host is not done even where it could be.
"""

# ruff: noqa: PTH115, PTH208, PTH211

import ctypes
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROBES: dict[str, Callable[[dict[str, Any]], object]] = {}
_libc = ctypes.CDLL(None, use_errno=True)
_IS_X86 = platform.machine() == "x86_64"


def probe(way_out: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    PROBES[way_out.__name__] = way_out
    return way_out


def call(x86_64: int, aarch64: int, *arguments: object) -> int:
    """A raw system call; a failure raises."""
    result = _libc.syscall(ctypes.c_long(x86_64 if _IS_X86 else aarch64), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def read(path: str) -> str:
    return Path(path).read_bytes()[:80].decode(errors="replace")


def write(path: str) -> str:
    """Open to write, a new file too; nothing is written."""
    return opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def opened(path: str, flags: int) -> str:
    os.close(os.open(path, flags))
    return f"opened {path}"


def containing(paths: Any, secret: str) -> str:
    """The first readable file that holds the secret; nothing found is a denial."""
    for path in paths:
        try:
            if secret.encode() in Path(path).read_bytes():
                return f"secret in {path}"
        except OSError:
            continue
    raise LookupError("the secret is nowhere")


# Files of the host


@probe
def read_a_file_of_the_host(t: dict[str, Any]) -> object:
    return read(t["host_file"])


@probe
def read_the_file_through_a_link(t: dict[str, Any]) -> object:
    os.symlink(t["host_file"], "link")
    return read("link")


@probe
def find_the_file_anywhere(t: dict[str, Any]) -> object:
    """Wherever the host may have been mounted."""
    name = Path(t["host_file"]).name
    for at, folders, files in os.walk("/"):
        folders[:] = [folder for folder in folders if at != "/" or folder not in ("proc", "sys", "usr")]
        if name in files:
            return f"found {at}/{name}"
    return _denied("nowhere")


@probe
def read_another_attempts_work(t: dict[str, Any]) -> object:
    return read(t["other_work"])


@probe
def read_the_order_of_this_attempt(t: dict[str, Any]) -> object:
    return read(t["order"])


@probe
def read_password_hashes(_: dict[str, Any]) -> object:
    return read("/etc/shadow")


@probe
def list_the_home_of_root(_: dict[str, Any]) -> object:
    return os.listdir("/root")


@probe
def read_the_host_through_its_first_process(_: dict[str, Any]) -> object:
    return os.listdir("/proc/1/root/root")


@probe
def climb_out_of_the_workdir(t: dict[str, Any]) -> object:
    return read("/work/../../../.." + t["host_file"])


@probe
def open_by_file_handle(_: dict[str, Any]) -> object:
    return call(303, 264, -100, b"/", ctypes.create_string_buffer(136), ctypes.byref(ctypes.c_int()), 0)


# Writing outside of /work


@probe
def write_into_usr(_: dict[str, Any]) -> object:
    return write("/usr/x")


@probe
def write_into_the_root(_: dict[str, Any]) -> object:
    return write("/x")


@probe
def write_into_etc(_: dict[str, Any]) -> object:
    return write("/etc/passwd")


@probe
def write_into_the_jobs_python(_: dict[str, Any]) -> object:
    return write("/opt/gridbay/jobs/bin/python4")


@probe
def write_into_the_base_python(_: dict[str, Any]) -> object:
    return write("/opt/gridbay/python/x")


@probe
def write_into_dev(_: dict[str, Any]) -> object:
    return write("/dev/x")


@probe
def write_a_kernel_setting(_: dict[str, Any]) -> object:
    return write("/proc/sys/kernel/core_pattern")


@probe
def trigger_sysrq(_: dict[str, Any]) -> object:
    return write("/proc/sysrq-trigger")


# Other processes


@probe
def see_a_process_of_the_host(t: dict[str, Any]) -> object:
    return read(f"/proc/{t['agent_pid']}/comm")


@probe
def see_more_than_ones_own_processes(_: dict[str, Any]) -> object:
    strangers = [name for name in os.listdir("/proc") if name.isdigit() and int(name) > 30]
    return strangers or _denied("only one's own")


@probe
def signal_the_agent(t: dict[str, Any]) -> object:
    return os.kill(t["agent_pid"], 0) or "signalled"


@probe
def read_the_environment_of_the_agent(t: dict[str, Any]) -> object:
    return read(f"/proc/{t['agent_pid']}/environ")


@probe
def trace_the_agent(t: dict[str, Any]) -> object:
    return call(101, 117, 0x4206, t["agent_pid"], 0, 0)  # PTRACE_SEIZE, which does not stop it


@probe
def read_the_memory_of_the_agent(t: dict[str, Any]) -> object:
    return opened(f"/proc/{t['agent_pid']}/mem", os.O_RDONLY)


@probe
def find_a_process_to_take_over_that_has_more_rights(_: dict[str, Any]) -> object:
    """The sandbox's own first process can be traced from inside; so it must be as bound as the command is."""
    rows = dict(line.split(":\t", 1) for line in Path("/proc/1/status").read_text().splitlines() if ":\t" in line)
    bound = (rows["Seccomp"], rows["NoNewPrivs"], int(rows["CapEff"], 16), int(rows["CapBnd"], 16))
    return bound if bound != ("2", "1", 0, 0) else _denied("none")


@probe
def enter_the_namespaces_of_the_first_process(_: dict[str, Any]) -> object:
    with Path("/proc/1/ns/mnt").open() as namespace:
        return call(308, 268, namespace.fileno(), 0)


@probe
def type_into_a_terminal(_: dict[str, Any]) -> object:
    with Path("/dev/tty").open("rb+", buffering=0) as terminal:
        return fcntl.ioctl(terminal, termios.TIOCSTI, b"x")


# Secrets


@probe
def find_the_agents_secret_in_the_environment(t: dict[str, Any]) -> object:
    return containing(["/proc/self/environ"], t["agent_secret"])


@probe
def find_the_agents_secret_in_any_environment(t: dict[str, Any]) -> object:
    return containing(Path("/proc").glob("*/environ"), t["agent_secret"])


@probe
def find_a_customers_secret_on_a_command_line(t: dict[str, Any]) -> object:
    return containing(Path("/proc").glob("*/cmdline"), t["customer_secret"])


@probe
def find_an_open_descriptor(_: dict[str, Any]) -> object:
    left = [number for number in range(3, 256) if Path(f"/proc/self/fd/{number}").is_symlink()]
    return [os.readlink(f"/proc/self/fd/{number}") for number in left] or _denied("none is left open")


# Network


@probe
def connect_to_the_hosts_loopback(t: dict[str, Any]) -> object:
    return socket.create_connection(("127.0.0.1", t["tcp_port"]), 2).close() or "connected"


@probe
def connect_to_an_abstract_socket(t: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as end:
        return end.connect("\0" + t["abstract_socket"]) or "connected"


@probe
def connect_to_a_socket_file(t: dict[str, Any]) -> object:
    with socket.socket(socket.AF_UNIX) as end:
        return end.connect(t["socket_file"]) or "connected"


@probe
def send_to_the_internet(_: dict[str, Any]) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        return end.sendto(b"x", ("192.0.2.1", 53))


@probe
def see_an_interface_besides_loopback(_: dict[str, Any]) -> object:
    return [name for _, name in socket.if_nameindex() if name != "lo"] or _denied("only loopback")


@probe
def open_a_packet_socket(_: dict[str, Any]) -> object:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close() or "opened"


@probe
def reach_the_hypervisor(_: dict[str, Any]) -> object:
    return socket.socket(40, socket.SOCK_STREAM).close() or "opened AF_VSOCK"


@probe
def use_the_kernels_cipher_sockets(_: dict[str, Any]) -> object:
    return socket.socket(38, socket.SOCK_SEQPACKET).close() or "opened AF_ALG"


# Rights


@probe
def become_root(_: dict[str, Any]) -> object:
    return os.setuid(0) or "uid 0"


@probe
def change_groups(_: dict[str, Any]) -> object:
    return os.setgroups([0]) or "group 0"


@probe
def give_a_file_to_root(_: dict[str, Any]) -> object:
    Path("mine").write_text("x")
    return os.chown("mine", 0, 0) or "given"


@probe
def hold_a_capability(_: dict[str, Any]) -> object:
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Cap")]
    return [line for line in lines if int(line[1], 16)] or _denied("none")


@probe
def gain_rights_by_a_setuid_program(_: dict[str, Any]) -> object:
    return "NoNewPrivs:\t0" in Path("/proc/self/status").read_text() or _denied("no_new_privs")


@probe
def run_at_a_higher_priority(_: dict[str, Any]) -> object:
    return os.setpriority(os.PRIO_PROCESS, 0, -5) or "raised"


# The kernel


@probe
def make_a_user_namespace(_: dict[str, Any]) -> object:
    return call(272, 97, 0x1000_0000)


@probe
def clone_into_a_user_namespace(_: dict[str, Any]) -> object:
    pid = call(56, 220, 0x1000_0000 | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@probe
def mount_something(_: dict[str, Any]) -> object:
    return call(165, 40, b"tmpfs", b"/tmp", b"tmpfs", 0, None)


@probe
def make_usr_writable(_: dict[str, Any]) -> object:
    return call(165, 40, b"none", b"/usr", None, 32 | 4096, None)


@probe
def mount_by_the_new_calls(_: dict[str, Any]) -> object:
    return call(430, 430, b"tmpfs", 0)


@probe
def change_the_root(_: dict[str, Any]) -> object:
    return os.chroot("/") or "changed"


@probe
def make_a_device(_: dict[str, Any]) -> object:
    return os.mknod("disk", 0o60666, os.makedev(254, 0)) or "made"


@probe
def open_a_device_that_is_not_leased(t: dict[str, Any]) -> object:
    return opened(t["device"], os.O_RDONLY)


@probe
def read_physical_memory(_: dict[str, Any]) -> object:
    return opened("/dev/mem", os.O_RDONLY)


@probe
def load_a_bpf_program(_: dict[str, Any]) -> object:
    return call(321, 280, 0, ctypes.create_string_buffer(struct.pack("IIIII", 1, 4, 4, 1, 0), 120), 120)


@probe
def open_a_performance_counter(_: dict[str, Any]) -> object:
    attributes = ctypes.create_string_buffer(struct.pack("II", 1, 112) + struct.pack("Q", 1), 112)
    return call(298, 241, attributes, 0, -1, -1, 0)


@probe
def open_userfaultfd(_: dict[str, Any]) -> object:
    return call(323, 282, 1)


@probe
def set_up_io_uring(_: dict[str, Any]) -> object:
    return call(425, 425, 4, ctypes.create_string_buffer(120))


@probe
def use_the_kernels_keys(_: dict[str, Any]) -> object:
    return call(248, 217, b"user", b"gridbay-probe", b"x", 1, -3)


@probe
def set_the_clock(_: dict[str, Any]) -> object:
    now = divmod(time.time_ns(), 10**9)
    return call(227, 112, 0, ctypes.create_string_buffer(struct.pack("qq", *now)))


@probe
def rename_the_host(_: dict[str, Any]) -> object:
    return socket.sethostname(socket.gethostname()) or "renamed"


@probe
def read_the_kernels_log(_: dict[str, Any]) -> object:
    return call(103, 116, 10, None, 0)


# Its bounds


@probe
def start_more_processes_than_allowed(t: dict[str, Any]) -> object:
    children: list[int] = []
    try:
        for _ in range(t["processes_max"] + 16):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(children)} processes"


@probe
def see_the_groups_of_the_host(_: dict[str, Any]) -> object:
    return os.listdir("/sys/fs/cgroup")


@probe
def lift_its_memory_limit(_: dict[str, Any]) -> object:
    return call(165, 40, b"cgroup", b"/tmp", b"cgroup", 0, b"memory")


def _denied(why: str) -> object:
    raise PermissionError(why)


def main() -> None:
    targets = json.loads(Path(sys.argv[1]).read_text())
    results = {}
    for name in targets["probes"] or PROBES:
        way_out = PROBES[name]
        try:
            results[name] = f"got: {way_out(targets)}"
        except Exception as error:
            results[name] = f"denied: {type(error).__name__}: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
