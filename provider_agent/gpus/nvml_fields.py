"""Which NVML functions tell which fields of a reading."""

from typing import Any, Protocol

from provider_agent.gpus.readings import Checkup, Pulse

_GPU_SENSOR = 0
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_SLOWDOWN_THRESHOLD = 1
_CORRECTED, _UNCORRECTED, _VOLATILE = 0, 1, 0
_MEMORY_TEMPERATURE = 82
"""Numbers of nvml.h: nvmlTemperatureSensors_t, nvmlClockType_t, nvmlTemperatureThresholds_t, nvmlMemoryErrorType_t,
nvmlEccCounterType_t, NVML_FI_DEV_MEMORY_TEMP."""
_LINKS_MAX = 36


class Told(Protocol):
    """The answer of a function of the binding about one device, or None."""

    def __call__(self, name: str, *arguments: Any) -> Any: ...


def pulse_of(told: Told) -> Pulse:
    """Ten figures by eight calls."""
    rates = told("nvmlDeviceGetUtilizationRates")
    memory = told("nvmlDeviceGetMemoryInfo")
    throttle = told("nvmlDeviceGetCurrentClocksEventReasons")
    if throttle is None:
        # What the function was called before driver 535.
        throttle = told("nvmlDeviceGetCurrentClocksThrottleReasons")
    return Pulse(
        busy_percent=None if rates is None else min(100, int(rates.gpu)),
        memory_busy_percent=None if rates is None else min(100, int(rates.memory)),
        memory_used_bytes=None if memory is None else int(memory.used),
        memory_free_bytes=None if memory is None else int(memory.free),
        temperature_c=told("nvmlDeviceGetTemperature", _GPU_SENSOR),
        power_milliwatts=told("nvmlDeviceGetPowerUsage"),
        energy_millijoules=told("nvmlDeviceGetTotalEnergyConsumption"),
        sm_clock_mhz=told("nvmlDeviceGetClockInfo", _SM_CLOCK),
        memory_clock_mhz=told("nvmlDeviceGetClockInfo", _MEMORY_CLOCK),
        throttle=throttle,
    )


def checkup_of(told: Told) -> Checkup:
    rows = told("nvmlDeviceGetRemappedRows") or (None, None, None, None)
    pending = told("nvmlDeviceGetRetiredPagesPendingStatus")
    links, active = nvlinks_of(told)
    processes = told("nvmlDeviceGetComputeRunningProcesses")
    return Checkup(
        memory_temperature_c=_memory_temperature(told),
        slowdown_at_c=told("nvmlDeviceGetTemperatureThreshold", _SLOWDOWN_THRESHOLD),
        power_limit_milliwatts=told("nvmlDeviceGetEnforcedPowerLimit"),
        power_limit_usual_milliwatts=told("nvmlDeviceGetPowerManagementDefaultLimit"),
        ecc_corrected=told("nvmlDeviceGetTotalEccErrors", _CORRECTED, _VOLATILE),
        ecc_uncorrected=told("nvmlDeviceGetTotalEccErrors", _UNCORRECTED, _VOLATILE),
        rows_corrected=rows[0],
        rows_uncorrected=rows[1],
        rows_pending=_flag(rows[2]),
        rows_failed=_flag(rows[3]),
        retirement_pending=_flag(pending),
        pcie_width=told("nvmlDeviceGetCurrPcieLinkWidth"),
        pcie_width_max=told("nvmlDeviceGetMaxPcieLinkWidth"),
        pcie_replays=told("nvmlDeviceGetPcieReplayCounter"),
        nvlinks=links,
        nvlinks_active=active,
        processes=None if processes is None else tuple(sorted(int(process.pid) for process in processes)),
    )


def nvlinks_of(told: Told) -> tuple[int | None, int | None]:
    """How many links the card has, and how many of them are active; a card without any tells of none."""
    states: list[int] = []
    for link in range(_LINKS_MAX):
        state = told("nvmlDeviceGetNvLinkState", link)
        if state is None:
            break
        states.append(int(state))
    return (len(states), sum(states)) if states else (None, None)


def _memory_temperature(told: Told) -> int | None:
    fields = told("nvmlDeviceGetFieldValues", [_MEMORY_TEMPERATURE])
    if not fields or fields[0].nvmlReturn != 0:
        return None
    # Cards without the sensor answer 0.
    return int(fields[0].value.uiVal) or None


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
