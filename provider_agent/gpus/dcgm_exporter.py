"""GPUs whose driver is asked by NVML, with what the exporter of DCGM on this machine adds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import httpx
import structlog

from market.resources import GpuFacts
from provider_agent.gpus import dcgm
from provider_agent.gpus.port import Gpus
from provider_agent.gpus.readings import Look, XidEvent

ASK_EVERY_LOOKS = 15
ASK_SECONDS_MAX = 2.0
TEXT_MAX_BYTES = 4 * 2**20

_log = structlog.get_logger(__name__)


class WithDcgm:
    """The GPUs of another port, filled in. An exporter that is away or talks nonsense costs what it would add."""

    def __init__(self, gpus: Gpus, url: str, fetch: Callable[[str], str] | None = None) -> None:
        """url: such as http://127.0.0.1:9400/metrics."""
        self._gpus = gpus
        self._url = url
        self._fetch = fetch or fetch_text
        self._looks = 0
        self._values: Mapping[str, dcgm.Values] = {}
        self._xids: dict[str, int] = {}
        self._silent = False

    @property
    def simulated(self) -> bool:
        return self._gpus.simulated

    @property
    def driver_version(self) -> str | None:
        return self._gpus.driver_version

    @property
    def cuda_version(self) -> str | None:
        return self._gpus.cuda_version

    @property
    def note(self) -> str:
        return self._gpus.note

    def facts(self) -> list[GpuFacts]:
        return self._gpus.facts()

    def device_files(self, uuids: Iterable[str]) -> list[str]:
        return self._gpus.device_files(uuids)

    def look(self) -> Look:
        look = self._gpus.look()
        events: list[XidEvent] = []
        if self._looks % ASK_EVERY_LOOKS == 0:
            self._ask()
            events = [event for event in self._new_xids() if event.uuid in look.by_uuid]
        self._looks += 1
        devices = tuple(
            device if device.trouble is not None else dcgm.filled_in(device, self._values.get(device.uuid, {}))
            for device in look.devices
        )
        return replace(look, devices=devices, xids=(*look.xids, *(e for e in events if e not in look.xids)))

    def _ask(self) -> None:
        try:
            self._values = dcgm.parse(self._fetch(self._url))
        except (httpx.HTTPError, ValueError) as error:
            self._values = {}
            if not self._silent:
                _log.warning("DCGM's exporter does not answer", url=self._url, error=str(error))
            self._silent = True
        else:
            self._silent = False

    def _new_xids(self) -> list[XidEvent]:
        """The exporter tells the last Xid of a device for ever; a number is news when it was another one before.

        What it tells when it is first asked may be of long ago: NVML's events say what is new.
        """
        events = []
        for uuid, values in self._values.items():
            xid = int(values.get(dcgm.XID, 0))
            if self._xids.setdefault(uuid, xid) != xid:
                self._xids[uuid] = xid
                if xid:
                    events.append(XidEvent(uuid, xid))
        return events


def fetch_text(url: str) -> str:
    """Raises httpx.HTTPError, ValueError for more than an exporter says."""
    with httpx.stream("GET", url, timeout=ASK_SECONDS_MAX) as response:
        response.raise_for_status()
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > TEXT_MAX_BYTES:
                raise ValueError(f"more than {TEXT_MAX_BYTES} bytes")
    return body.decode(errors="replace")
