"""Ways out towards the host's files, processes and secrets."""
# ruff: noqa: PTH115, PTH208, PTH211

import ctypes
import fcntl
import os
import termios
from pathlib import Path
from typing import Any

from probing import call, containing, denied, opened, probe, read, write

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
    return denied("nowhere")


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
    return strangers or denied("only one's own")


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
    return bound if bound != ("2", "1", 0, 0) else denied("none")


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
    return [os.readlink(f"/proc/self/fd/{number}") for number in left] or denied("none is left open")
