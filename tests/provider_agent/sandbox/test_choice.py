"""The strongest sandbox that really works is used, a weaker one only where it is allowed, and the choice says why."""

import sys
from pathlib import Path

import pytest
from inside import JOBS, Jobs

from provider_agent.sandbox.cgroups import CgroupsV2
from provider_agent.sandbox.choice import Choice, NoSandbox, SandboxConfig, choose
from provider_agent.sandbox.port import MEBIBYTE, Limits
from provider_agent.sandbox.runtime import UnusableRuntime, find_runtime
from provider_agent.sandbox.system_calls import filter_program


def test_here_it_is_bubblewrap_and_every_bound_has_its_keeper(choice: Choice) -> None:
    assert choice.sandbox.kind == "bubblewrap"
    assert set(choice.sandbox.bounds()) == {"files", "network", "system calls", "memory", "processes", "cpu"}


def test_without_bubblewrap_nobodys_job_runs_but_ones_own(tmp_path: Path) -> None:
    config = SandboxConfig(None, search_path=str(tmp_path))
    with pytest.raises(NoSandbox, match="install the package `bubblewrap`"):
        choose(config, tmp_path, allow_plain=False)
    choice = choose(config, tmp_path, allow_plain=True)
    assert choice.sandbox.kind == "plain"
    assert "not installed" in choice.why
    assert "run only your own" in choice.warnings[-1]


def test_a_bubblewrap_that_does_not_work_is_told_with_its_own_words(tmp_path: Path, open_folder: Path) -> None:
    broken = open_folder / "broken" / "bwrap"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(NoSandbox, match="No permissions to create new namespace"):
        choose(SandboxConfig(None, search_path=str(broken.parent)), tmp_path, allow_plain=False)


def test_a_plain_process_runs_with_a_clean_environment_and_limits(tmp_path: Path) -> None:
    sandbox = choose(SandboxConfig(None, search_path=""), tmp_path, allow_plain=True).sandbox
    jobs = Jobs(tmp_path, sandbox)
    try:
        outcome, log = jobs.run(
            "pwd; grep NoNewPrivs /proc/self/status; env | cut -d= -f1 | sort | tr '\\n' ' '", environment={"LR": "1"}
        )
        attempt = next(iter(jobs.orders))
        assert outcome.exit_code == 0
        assert log.startswith(f"{attempt / 'work'}\nNoNewPrivs:\t1\n")
        assert {"LR", "HOME", "OMP_NUM_THREADS"} <= set(log.split())
        assert "PYTEST_CURRENT_TEST" not in log
    finally:
        jobs.close()


def test_the_platforms_own_environment_is_never_shown_to_jobs() -> None:
    with pytest.raises(UnusableRuntime, match="the platform's own"):
        find_runtime(Path(sys.prefix))


def test_an_environment_that_is_not_there_is_a_warning_not_an_end(tmp_path: Path) -> None:
    with pytest.raises(UnusableRuntime, match="make setup"):
        find_runtime(tmp_path / "none")
    choice = choose(SandboxConfig(tmp_path / "none"), tmp_path, allow_plain=True)
    assert any("only the system's Python" in warning for warning in choice.warnings)


@pytest.mark.skipif(not JOBS.exists(), reason="the environment of jobs is not set up (make setup)")
def test_a_job_environment_names_its_interpreter_where_it_is_shown() -> None:
    runtime = find_runtime(JOBS)
    home = runtime.configuration_inside().splitlines()[0]
    assert home in ("home = /opt/gridbay/python/bin", "home = /usr/bin", "home = /usr/local/bin")


def test_v2_limits_are_written_as_the_kernel_documents_them(tmp_path: Path) -> None:
    """On a folder: no machine here has a v2 tree with these controllers, so this proves the writing alone."""
    cgroup = CgroupsV2(tmp_path, tmp_path / "agent").make(
        "attempt-1", Limits(cpus=1.5, memory_bytes=64 * MEBIBYTE, processes_max=32)
    )
    own = tmp_path / "gridbay" / "attempt-1"
    written = {path.name: path.read_text() for path in own.iterdir()}
    assert written == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "32",
        "cpu.max": "150000 100000",
    }
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (tmp_path / "gridbay" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert cgroup.join == (own / "cgroup.procs",)
    assert cgroup.quota == (own / "cpu.max", "150000 100000")


def test_a_small_share_of_a_core_holds_once_the_sandbox_stands(tmp_path: Path) -> None:
    cgroup = CgroupsV2(tmp_path, tmp_path / "agent").make("attempt-1", Limits(cpus=0.05, memory_bytes=64 * MEBIBYTE))
    bound = tmp_path / "gridbay" / "attempt-1" / "cpu.max"
    assert bound.read_text() == "100000 100000"
    assert cgroup.quota == (bound, "5000 100000")


def test_the_filter_is_whole_on_both_architectures_and_absent_on_others() -> None:
    for machine in ("x86_64", "aarch64"):
        program = filter_program(machine)
        assert program is not None
        assert len(program) % 8 == 0
        assert len(program) // 8 < 256
    assert filter_program("riscv64") is None
