"""An agent over a fake driver, GPUs as `--simulate` makes them up, and the rest of what a machine offers."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess
from fake_driver import FakeDriver
from far_side import FarSide

from market.errors import InvalidInput
from market.resources import GpuRequest, gpu_matches, parse_gpu
from market.states import Reason
from provider_agent.gpus.inventory import measure, take_inventory
from provider_agent.gpus.nvml import open_nvml
from provider_agent.gpus.port import NoGpus
from provider_agent.gpus.simulated import MODELS, SimulatedGpus

KEY = "ab" * 32


@pytest.fixture
def device_file() -> Iterator[Path]:
    """The second fake card's file: a device like /dev/null under its name."""
    path = Path("/dev/nvidia191")
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make the file of a device")
    yield path
    path.unlink()


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is a driver here")
def test_no_driver_is_normal() -> None:
    assert isinstance(open_nvml(), NoGpus)


def test_the_agent_meters_busy_gpus_and_tells_when_one_is_lost(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver, device_file: Path
) -> None:
    driver.say("*.busy 50")
    agent = joined().start(**driver.environment)
    far.wait(lambda: far.inventories)
    assert [gpu.index for gpu in far.inventories[0].gpus] == [0, 1]
    assert (far.inventories[0].driver_version, far.inventories[0].cuda_version) == ("570.124.06", "12.8")
    uuid = far.inventories[0].gpus[1].uuid
    attempt_id = far.want("echo $CUDA_VISIBLE_DEVICES; ls /dev/nvidia*; sleep 2.2", gpu_uuids=[uuid])
    far.exit_of(attempt_id)

    (chain,) = far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].final])
    assert bytes(far.attempts[attempt_id].log).decode() == f"{uuid}\n{device_file}\n"
    assert 500 <= chain[-1].gpu_busy_ms <= chain[-1].run_ms
    # The other card's file is not there: that is this node's fault, not the job's.
    other = far.want("true", gpu_uuids=[far.inventories[0].gpus[0].uuid])
    assert far.exit_of(other).reason is Reason.FAILED_PROVIDER_LOST
    assert "/dev/nvidia190" in far.exit_of(other).detail
    agent.kill()
    driver.say("0.lost 1")
    declared = len(far.inventories)
    agent.start(**driver.environment)
    far.wait(lambda: len(far.inventories) > declared)
    assert [gpu.index for gpu in far.inventories[-1].gpus] == [1]


@pytest.fixture
def slice_files() -> Iterator[list[Path]]:
    """The files of the first fake card and of its first slice."""
    folder = Path("/dev/nvidia-caps")
    paths = [*(folder / f"nvidia-cap{number}" for number in (0, 1)), Path("/dev/nvidia190")]
    try:
        folder.mkdir(exist_ok=True)
        for path in paths:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root can make the file of a device")
    yield paths
    for path in paths:
        path.unlink()
    folder.rmdir()


def test_a_job_has_its_slice_and_nothing_else_of_the_card_and_none_that_is_gone(
    far: FarSide, joined: Callable[..., AgentProcess], driver: FakeDriver, slice_files: list[Path]
) -> None:
    cut = ("0.mig 1", "0.slices 2", "0/1.profile 3g.40gb")
    driver.open_slices("gpu190/gi1", "gpu190/gi2")
    driver.say(*cut)
    joined().start(**driver.environment)
    first, second, _ = far.wait(lambda: far.inventories)[0].gpus
    assert [gpu.mig_profile for gpu in (first, second)] == ["1g.10gb", "3g.40gb"]
    attempt_id = far.want("echo $CUDA_VISIBLE_DEVICES; ls -d /dev/nvidia*/* /dev/nvidia?*[0-9]", gpu_uuids=[first.uuid])
    far.exit_of(attempt_id)
    far.wait(lambda: any(chain[-1].final for chain in far.chains(attempt_id)))
    told = bytes(far.attempts[attempt_id].log).decode().split()
    assert told == [first.uuid, *map(str, slice_files)]
    declared = len(far.inventories)
    driver.say("0.mig 1", "0.slices 1")
    far.wait(lambda: len(far.inventories) > declared)
    gone = far.want("true", gpu_uuids=[second.uuid])
    assert far.exit_of(gone).reason is Reason.FAILED_PROVIDER_LOST
    assert f"{second.uuid} is not there" in far.exit_of(gone).detail


def test_simulated_gpus_are_marked_and_named_after_their_node() -> None:
    gpus = SimulatedGpus("H100:2, RTX 4090", KEY)

    assert [facts.uuid for facts in gpus.facts()] == [f"SIM-{KEY[:16]}-{index}" for index in range(3)]
    assert gpus.simulated
    assert gpu_matches(GpuRequest(count=1, model="RTX 4090"), gpus.facts()[2].model, gpus.facts()[2].memory_bytes)


@pytest.mark.parametrize(
    "asked",
    [
        "T4:16GB",
        "A10:24GB",
        "L4:24GB",
        "A100:80GB",
        "L40S:48GB",
        "H100:80GB",
        "H200:141GB",
        "B200:192GB",
        "RTX 4090:24GB",
        "RTX 3090:24GB",
        "V100:32GB",
    ],
)
def test_a_simulated_card_is_one_that_people_ask_for_by_its_nominal_size(asked: str) -> None:
    request = parse_gpu(asked)
    assert request is not None
    model = MODELS[asked.partition(":")[0].replace(" ", "")]

    assert gpu_matches(request, model.name, model.memory_bytes)


@pytest.mark.parametrize("expression", ["", "H100:0", "H100:65", "H100:60,A100:5", "H1000", "H100:2:3", "H100;A100"])
def test_a_simulation_that_is_not_understood_is_refused_with_the_models(expression: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        SimulatedGpus(expression, KEY)
    assert "H100" in refusal.value.remedy


def test_the_inventory_keeps_a_reserve_and_the_owners_limits(tmp_path: Path) -> None:
    measured = measure(tmp_path)
    free = take_inventory(NoGpus(""), measured, cpu_milli=None, memory_bytes=None, sandbox="bubblewrap")
    assert 0 < free.memory_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free.disk_bytes < shutil.disk_usage(tmp_path).free

    limited = take_inventory(NoGpus(""), measured, cpu_milli=500, memory_bytes=10**9, sandbox="bubblewrap")
    assert (limited.cpu_milli, limited.memory_bytes) == (500, 10**9)
    with pytest.raises(InvalidInput, match="--cpus"):
        take_inventory(NoGpus(""), measured, cpu_milli=10**6, memory_bytes=None, sandbox="bubblewrap")
