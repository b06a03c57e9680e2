"""Ways out through the network, one's rights and the kernel."""
# ruff: noqa: PTH208

import ctypes
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

from probing import call, denied, opened, probe

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
    return [name for _, name in socket.if_nameindex() if name != "lo"] or denied("only loopback")


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
    return [line for line in lines if int(line[1], 16)] or denied("none")


@probe
def gain_rights_by_a_setuid_program(_: dict[str, Any]) -> object:
    return "NoNewPrivs:\t0" in Path("/proc/self/status").read_text() or denied("no_new_privs")


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
