"""Agents' reports: the signature is checked, statuses join one transaction, readings go to the usage bus in parcels."""

from collections import OrderedDict
from collections.abc import Sequence, Set
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from billing.metering import usage
from infra.bus.usage import BusUnavailable, UsageMessage
from infra.ground import Ground
from market.agent_api import AttemptStatus, Report, ReportAnswer
from market.errors import Forbidden, MarketError, Unavailable
from market.failpoints import failpoint
from market.faults import faults_of
from market.signing import REPORT_TAG, verify
from portal_api.problems import Malformed
from portal_api.threads import DatabaseThreads
from scheduler.supply import nodes
from scheduler.work import attempts

log = structlog.get_logger(__name__)
KEYS_REMEMBERED_MAX = 50_000


class ForgedReport(Forbidden):
    code = "bad_signature"


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """A report whose signature was checked. usage: its readings, if there are any; streams: which they are of."""

    node_id: str
    statuses: list[AttemptStatus]
    usage: UsageMessage | None
    streams: Set[str] = frozenset()


class ReportBatches:
    """The work of a batch of reports. Statuses commit first: readings that the bus refuses are simply sent again."""

    def __init__(self, base: Ground) -> None:
        self._base = base

    def __call__(self, reports: list[CheckedReport]) -> Sequence[ReportAnswer | MarketError]:
        now = self._base.clock.now()
        with self._base.database.transaction() as session:
            accepted = attempts.report_many(session, [(report.node_id, report.statuses) for report in reports], now)
            failpoint("api.reports.before_commit")
        failpoint("api.reports.after_commit")
        refused = self._publish([report.usage for report in reports if report.usage is not None])
        failpoint("api.reports.published")
        with self._base.database.read() as session:
            durable = usage.durable_through(session, _streams_asked(reports))
        return [
            refused
            if refused is not None and report.usage is not None
            else ReportAnswer(accepted=ids, durable_through=durable[report.node_id])
            for report, ids in zip(reports, accepted, strict=True)
        ]

    def _publish(self, messages: list[UsageMessage]) -> MarketError | None:
        if not messages:
            return None
        try:
            self._base.usage_bus.publish(messages)
        except BusUnavailable as error:
            log.warning("usage_bus_refused", reports=len(messages), error=str(error))
            return Unavailable("the usage bus does not take readings right now", remedy="send the report again")
        return None


def _streams_asked(reports: Sequence[CheckedReport]) -> dict[str, set[str]]:
    asked: dict[str, set[str]] = {}
    for report in reports:
        asked.setdefault(report.node_id, set()).update(report.streams)
    return asked


class NodeKeys:
    """The public keys of nodes; a node's key never changes, so it is read once."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads
        self._keys: OrderedDict[str, str] = OrderedDict()

    async def of(self, node_id: str) -> str:
        """64 hexadecimal digits. Raises NotFound."""
        key = self._keys.get(node_id)
        if key is None:
            key = await self._threads.read(lambda session: nodes.public_key(session, node_id))
            self._keys[node_id] = key
            if len(self._keys) > KEYS_REMEMBERED_MAX:
                self._keys.popitem(last=False)
        return key


def parse_report(body: bytes, node_id: str, key: str, signature: str) -> Report:
    """The report of these signed bytes. Raises ForgedReport, Malformed."""
    if not verify(key, REPORT_TAG, body, signature):
        raise ForgedReport("the signature is not this node's over this body")
    try:
        report = Report.model_validate_json(body)
    except ValidationError as error:
        faults = list(faults_of(Report, error.errors(include_url=False)))
        raise Malformed(f"{faults[0].pointer}: {faults[0].detail}", errors=faults) from None
    if report.node_id != node_id:
        raise Forbidden("the report names another node than the credential")
    return report
