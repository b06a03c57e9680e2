"""GPUs as the real NVML binding shows them over a compiled fake driver."""

import os
import subprocess
import sys
from pathlib import Path

from fake_driver import FakeDriver, build, looking, uuid_of

NOT_LOADED = 9


def run(driver: FakeDriver, script: str) -> str:
    """What a script prints in a process over that driver."""
    environment = {**os.environ, **driver.environment}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return told.stdout


def test_the_facts_of_each_device_come_from_the_driver(driver: FakeDriver) -> None:
    driver.say("1.busy 37")
    with looking(driver) as looker:
        found = looker.look(2)

    assert found["note"] == "2 GPUs, driver 570.124.06"
    assert found["versions"] == ["570.124.06", "12.8"]
    assert found["facts"][1] == {
        "uuid": uuid_of(1),
        "index": 1,
        "model": "NVIDIA H100 80GB HBM3",
        "memory_bytes": 85520809984,
        "compute_capability": "9.0",
        "pci_bus_id": "00000000:01:00.0",
        "pci_device_id": 0x233010DE,
        "power_limit_milliwatts": 700000,
        "ecc": True,
        "mig": False,
        "mig_profile": None,
        "nvlinks": 18,
    }
    assert found["busy_ms"] == {uuid_of(0): 0, uuid_of(1): 740}, "two looks, a second apart, at 37 %"
    assert found["files"] == ["/dev/nvidia190", "/dev/nvidia191"]


def test_every_field_of_a_reading_is_told(driver: FakeDriver) -> None:
    driver.say("1.energy 5000", "1.throttle 0x4", "1.process 77", "1.memory_used 1048576", "1.pcie_replays 3")
    with looking(driver) as looker:
        reading = looker.look(1)["readings"][uuid_of(1)]
    assert [name for part in ("pulse", "checkup") for name, value in reading[part].items() if value is None] == []
    assert (reading["pulse"]["energy_millijoules"], reading["pulse"]["throttle"]) == (5000, 4)
    assert (reading["checkup"]["processes"], reading["checkup"]["pcie_replays"]) == ([77], 3)


def test_an_old_driver_lacks_functions_and_costs_only_what_they_would_tell(tmp_path: Path) -> None:
    driver = FakeDriver(build(tmp_path, "-DOLD_DRIVER"), tmp_path / "steering")
    driver.say("1.throttle 0x40")
    with looking(driver) as looker:
        found = looker.look(6, 5.0)
    checkup = found["readings"][uuid_of(1)]["checkup"]
    assert (checkup["power_limit_milliwatts"], checkup["rows_failed"]) == (None, None)
    assert found["facts"][1]["power_limit_milliwatts"] is None
    assert [each["code"] for each in found["conditions"]] == ["too_hot"], "clocks are told by the function's old name"


def test_what_the_driver_does_not_tell_of_a_card_the_catalogue_fills_in(driver: FakeDriver) -> None:
    driver.say("*.capability NA")
    with looking(driver) as looker:
        assert {fact["compute_capability"] for fact in looker.look()["facts"]} == {"9.0"}


def test_a_card_without_a_name_is_not_offered(driver: FakeDriver) -> None:
    driver.say("0.memory NA")
    with looking(driver) as looker:
        found = looker.look()
    assert [fact["index"] for fact in found["facts"]] == [1]
    assert "device 0 does not tell its UUID and memory" in found["note"]


def test_a_driver_that_does_not_answer_is_a_machine_without_gpus_until_it_does(driver: FakeDriver) -> None:
    driver.say(f"fail.nvmlInitWithFlags {NOT_LOADED}")
    with looking(driver) as looker:
        found = looker.look(2)
        assert "does not answer: Driver Not Loaded" in found["note"]
        assert (found["versions"], found["facts"], found["files"]) == ([None, None], [], [])
        assert [each["code"] for each in found["conditions"]] == ["driver_unready"]

        driver.say()
        found = looker.look(12, 5.0)
        assert [fact["index"] for fact in found["facts"]] == [0, 1]
        assert {each["code"] for each in found["conditions"]} == {"not_in_pool"}, "Ray's books were made without them"


def test_a_driver_that_is_loaded_again_is_opened_again(driver: FakeDriver) -> None:
    with looking(driver) as looker:
        before = looker.look(2)
        driver.say(f"fail.nvmlDeviceGetCount_v2 {NOT_LOADED}", f"fail.nvmlInitWithFlags {NOT_LOADED}")
        assert looker.look(6, 5.0)["facts"] == []
        driver.say("driver 575.57.08")
        after = looker.look(12, 5.0)
    assert after["facts"] == before["facts"]
    assert (after["versions"][0], after["conditions"]) == ("575.57.08", [])


def test_a_lost_card_leaves_the_inventory_and_comes_back_to_it(driver: FakeDriver) -> None:
    with looking(driver) as looker:
        looker.look(1)
        driver.say("0.lost 1")
        assert [fact["index"] for fact in looker.look(6)["facts"]] == [1]
        driver.say()
        assert [fact["index"] for fact in looker.look(6)["facts"]] == [0, 1]


def test_a_driver_that_hangs_when_it_is_opened_costs_the_gpus_and_not_the_start(driver: FakeDriver) -> None:
    driver.say("fail.nvmlInitWithFlags hang")
    opened = (
        "from provider_agent.gpus.detection import open_gpus\n"
        "from provider_agent.health.once import conditions_at_a_look\n"
        "gpus = open_gpus(None, '', seconds_max=0.2)\n"
        "print(gpus.note, [each.code.value for each in conditions_at_a_look(gpus)], gpus.facts())"
    )
    told = run(driver, opened)
    assert "it hangs" in told
    assert told.strip().endswith("['driver_unready'] []")


def test_the_checklist_sees_at_one_look_what_would_have_to_last(driver: FakeDriver) -> None:
    driver.say("1.temperature 91", "0.pcie_width 8")
    checked = (
        "from pathlib import Path\n"
        "import tempfile\n"
        "from provider_agent.checklist import Checklist, Subject\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    checks = list(Checklist(Subject(Path(folder), allow_plain_sandbox=True)).run())\n"
        "for check in checks:\n"
        "    print(check.name, check.level, check.actual, '|', check.mend)"
    )
    told = run(driver, checked).splitlines()
    proof = next(line for line in told if line.startswith("proof of gpus"))
    assert proof == (
        "proof of gpus WARN neither is here | install cupy-cuda12x (or torch) into the environment of jobs, or the "
        "agent's own"
    )
    lines = [line for line in told if line.startswith("gpu")]
    assert lines[0].startswith("gpus PASS 2 GPUs, driver 570.124.06")
    assert [line.partition(" | ")[0] for line in lines[1:]] == [
        f"gpu health WARN {uuid_of(0)}: the GPU's PCIe link has fewer lanes than it could (8 of 16 lanes)",
        f"gpu health WARN {uuid_of(1)}: the GPU is too hot (91 °C)",
    ]


def test_the_checklist_finds_what_proves_gpus_in_the_environment_of_jobs(driver: FakeDriver, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho cupy\n")
    python.chmod(0o755)
    checked = (
        "from pathlib import Path\n"
        "from provider_agent.checklist import Checklist, Subject\n"
        f"subject = Subject(Path({str(tmp_path / 'state')!r}), job_runtime=Path({str(tmp_path)!r}))\n"
        "found = [check for check in Checklist(subject).run() if check.name == 'proof of gpus']\n"
        "print([f'{check.level} {check.actual}' for check in found])"
    )
    assert run(driver, checked).strip() == f"['PASS cupy, under {python}']"
