"""DCGM's exporter is read into our readings, and what it adds costs nothing where it is away.

dcgm_exporter.txt has every field of the exporter's default list (etc/default-counters.csv of 2026-05) as the exporter
prints it, and the two PCIe counters that older lists had instead of the profiling fields.
"""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fake_driver import uuid_of

from market.resources import GpuFacts
from provider_agent.gpus import dcgm
from provider_agent.gpus.dcgm_exporter import ASK_EVERY_LOOKS, WithDcgm, fetch_text
from provider_agent.gpus.port import NoGpus
from provider_agent.gpus.readings import Checkup, GpuReading, Look, Pulse, XidEvent

TEXT = Path(__file__).with_name("dcgm_exporter.txt").read_text()
DEFAULT_LIST = """DEV_SM_CLOCK DEV_MEM_CLOCK DEV_MEMORY_TEMP DEV_GPU_TEMP DEV_POWER_USAGE DEV_TOTAL_ENERGY_CONSUMPTION
DEV_PCIE_REPLAY_COUNTER DEV_GPU_UTIL DEV_MEM_COPY_UTIL DEV_ENC_UTIL DEV_DEC_UTIL DEV_XID_ERRORS DEV_FB_FREE DEV_FB_USED
DEV_FB_RESERVED DEV_NVLINK_BANDWIDTH_TOTAL DEV_VGPU_LICENSE_STATUS DEV_UNCORRECTABLE_REMAPPED_ROWS
DEV_CORRECTABLE_REMAPPED_ROWS DEV_ROW_REMAP_FAILURE PROF_GR_ENGINE_ACTIVE PROF_PIPE_TENSOR_ACTIVE PROF_DRAM_ACTIVE
PROF_PCIE_TX_BYTES PROF_PCIE_RX_BYTES"""
OLDER_LIST = "DEV_PCIE_TX_THROUGHPUT DEV_PCIE_RX_THROUGHPUT"


class _Silent(NoGpus):
    """A driver that names two devices and tells nothing else of them."""

    def __init__(self) -> None:
        super().__init__("")

    def facts(self) -> list[GpuFacts]:
        return [GpuFacts(uuid=uuid_of(n), index=n, model="H100", memory_bytes=80 * 2**30) for n in range(2)]

    def look(self) -> Look:
        return Look((GpuReading(uuid_of(0), 0), GpuReading(uuid_of(1), 1)))


def asked(fetch: Callable[[str], str]) -> WithDcgm:
    return WithDcgm(_Silent(), "http://127.0.0.1:9400/metrics", fetch)


def test_every_field_of_the_default_list_is_read_under_its_name() -> None:
    found = dcgm.parse(TEXT)
    listed = {f"DCGM_FI_{name}" for name in f"{DEFAULT_LIST} {OLDER_LIST}".split()}
    assert listed == found[uuid_of(0)].keys(), "the driver's version is a label"
    assert found[uuid_of(0)]["DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"] == 0.684211
    assert found[uuid_of(1)] == {"DCGM_FI_DEV_SM_CLOCK": 345.0}, "a MIG instance is not the device"


def test_they_become_the_fields_of_a_reading_in_its_units() -> None:
    reading = asked(lambda _: TEXT).look().devices[0]
    assert reading.pulse == Pulse(
        busy_percent=97,
        memory_busy_percent=41,
        memory_used_bytes=80055 * 2**20,
        memory_free_bytes=1024 * 2**20,
        temperature_c=64,
        power_milliwatts=612352,
        energy_millijoules=73486132011,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
    )
    assert reading.checkup == Checkup(
        memory_temperature_c=71, rows_corrected=3, rows_uncorrected=1, rows_failed=False, pcie_replays=2
    )
    assert reading.profile["DCGM_FI_PROF_DRAM_ACTIVE"] == 0.311009


def test_a_reading_is_told_again_under_the_same_names_and_units() -> None:
    reading = asked(lambda _: TEXT).look().devices[0]
    told = dict(dcgm.told_by(reading))
    values = dcgm.parse(TEXT)[uuid_of(0)]
    assert told == {name: value for name, value in values.items() if name in dcgm.FIELDS}
    assert set(values) == told.keys() | reading.profile.keys() | {dcgm.XID}


def test_what_the_driver_told_itself_goes_before() -> None:
    told = GpuReading(uuid_of(0), 0, Pulse(temperature_c=50))
    assert dcgm.filled_in(told, {"DCGM_FI_DEV_GPU_TEMP": 64.0}).pulse.temperature_c == 50


@pytest.mark.parametrize("blank", ["NaN", "9223372036854775794", "140737488355328", "2147483632"])
def test_what_dcgm_could_not_read_is_not_told(blank: str) -> None:
    line = f'DCGM_FI_DEV_MEMORY_TEMP{{gpu="0",UUID="{uuid_of(0)}"}} {blank}\n'
    assert dcgm.parse(line) == {}


def test_an_xid_is_news_once_and_what_it_was_at_first_is_not() -> None:
    def with_xid(number: int) -> str:
        return TEXT.replace('err_msg="No Error"} 0', f'err_msg="x"}} {number}')

    texts = iter([with_xid(31), with_xid(79), with_xid(79)])
    gpus = asked(lambda _: next(texts))
    found = [look.xids for look in (gpus.look() for _ in range(3 * ASK_EVERY_LOOKS)) if look.xids]
    assert found == [(XidEvent(uuid_of(0), 79),)]


@pytest.mark.parametrize(
    "fault", [httpx.ConnectError("refused"), ValueError("more than it says"), "{not metrics", "x" * 1000]
)
def test_an_exporter_that_is_away_or_talks_nonsense_costs_what_it_adds(fault: Exception | str) -> None:
    def fetch(_: str) -> str:
        if isinstance(fault, str):
            return fault
        raise fault

    look = asked(fetch).look()
    assert look.devices == _Silent().look().devices


def test_more_than_an_exporter_says_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provider_agent.gpus.dcgm_exporter.TEXT_MAX_BYTES", 100)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=TEXT))) as client:
        monkeypatch.setattr(httpx, "stream", client.stream)
        with pytest.raises(ValueError, match="more than 100"):
            fetch_text("http://exporter/metrics")
