"""GPUs as the real NVML binding shows them over a compiled fake driver, and as `--simulate` makes them up."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess
from far_side import FarSide

from market.errors import InvalidInput
from market.resources import GpuRequest, gpu_matches, parse_gpu
from market.states import Reason
from provider_agent.gpus.inventory import measure, take_inventory
from provider_agent.gpus.nvml import open_nvml
from provider_agent.gpus.port import NoGpus
from provider_agent.gpus.simulated import MODELS, SimulatedGpus

LOOK = """
import json
from provider_agent import journal
from provider_agent.gpus.nvml import open_nvml
journal.configure()
gpus = open_nvml()
facts = [item.model_dump() for item in gpus.facts()]
files = gpus.device_files([item["uuid"] for item in facts[-1:]])
print(json.dumps([gpus.note, gpus.driver_version, facts, gpus.busy_percent(), files]))
"""
KEY = "ab" * 32


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fake library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here, and the fake driver is compiled")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


def environment(driver: Path, steering: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": str(driver), "FAKE_NVML": str(steering)}


def look(
    driver: Path, tmp_path: Path, **settings: object
) -> tuple[str, str, list[dict[str, object]], dict[str, int], list[str]]:
    """What a fresh process sees: the library path is read when it starts."""
    steering = tmp_path / "steering"
    steering.write_text(
        "".join(f"{key} {value}\n" for key, value in ({"driver": "570.1", "count": 2} | settings).items())
    )
    variables = {**os.environ, **environment(driver, steering)}
    told = subprocess.run([sys.executable, "-c", LOOK], env=variables, check=True, capture_output=True, text=True)
    note, version, facts, busy, files = json.loads(told.stdout)
    return note, version, facts, busy, files


def test_the_facts_of_each_device_come_from_the_driver(driver: Path, tmp_path: Path) -> None:
    note, version, facts, busy, files = look(driver, tmp_path, busy=37)

    assert (note, version) == ("2 GPUs, driver 570.1", "570.1")
    assert facts[1] == {
        "uuid": "GPU-5c9e0000-0000-0000-0000-000000000001",
        "index": 1,
        "model": "NVIDIA H100 80GB HBM3",
        "memory_bytes": 85520809984,
        "compute_capability": "9.0",
        "pci_bus_id": "00000000:01:00.0",
        "power_limit_milliwatts": None,
    }
    assert busy == {str(item["uuid"]): 37 for item in facts}
    assert files[-1] == "/dev/nvidia191"


def test_a_driver_that_tells_less_costs_only_what_it_does_not_tell(driver: Path, tmp_path: Path) -> None:
    _, _, facts, _, _ = look(driver, tmp_path, no_capability=1)
    assert [item["compute_capability"] for item in facts] == [None, None]
    note, _, facts, _, _ = look(driver, tmp_path, missing_memory=0)
    assert [item["index"] for item in facts] == [1]
    assert "device 0 does not tell its UUID and memory" in note


def test_a_card_that_is_lost_or_sliced_is_not_offered(driver: Path, tmp_path: Path) -> None:
    assert [item["index"] for item in look(driver, tmp_path, lost=0)[2]] == [1]
    note, _, facts, _, _ = look(driver, tmp_path, mig=1)
    assert [item["index"] for item in facts] == [0]
    assert "MIG mode" in note


def test_a_driver_that_does_not_answer_is_a_machine_without_gpus(driver: Path, tmp_path: Path) -> None:
    note, version, facts, busy, files = look(driver, tmp_path, init=9)
    assert "does not answer" in note
    assert (version, facts, busy, files) == (None, [], {}, [])


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
    far: FarSide, joined: Callable[..., AgentProcess], driver: Path, tmp_path: Path, device_file: Path
) -> None:
    steering = tmp_path / "steering"
    steering.write_text("driver 570.1\ncount 2\nbusy 50\n")
    agent = joined().start(**environment(driver, steering))
    far.wait(lambda: far.inventories)
    assert [gpu.index for gpu in far.inventories[0].gpus] == [0, 1]
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
    steering.write_text("driver 570.1\ncount 2\nlost 0\n")
    declared = len(far.inventories)
    agent.start(**environment(driver, steering))
    far.wait(lambda: len(far.inventories) > declared)
    assert [gpu.index for gpu in far.inventories[-1].gpus] == [1]


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
