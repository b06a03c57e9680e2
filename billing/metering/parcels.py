"""Parcels: the runs of a verified report as the usage bus carries them, so that only the portal reads its JSON.

The first line is the tag, the second the runs (JSON), and then come the rows of all of them, in their order.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from billing.metering.refusals import Refusals
from billing.metering.runs import Run, count_of, runs_of
from market.agent_api import REPORT_BODY_MAX_BYTES, Report

TAG = b"gridbay/parcel/v1\n"


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A message of the usage bus. node_id: of the credential, whose key signed it.

    body: a parcel, or exactly the bytes that were signed.
    """

    node_id: str
    received_at: datetime
    body: bytes


def pack(report: Report, received_at: datetime) -> bytes:
    """The parcel of a report whose signature was checked."""
    runs = list(runs_of(report, received_at))
    header = [
        [
            run.stream_id,
            run.lease_id,
            run.first,
            run.last,
            run.previous_hash,
            run.hash,
            run.run_ms,
            run.final,
            len(run.rows),
        ]
        for run in runs
    ]
    return b"".join([TAG, json.dumps(header, separators=(",", ":")).encode(), b"\n", *(run.rows for run in runs)])


def runs_in(messages: Iterable[SignedReport], refusals: Refusals) -> Iterator[Run]:
    """The runs of these messages, in their order; a report that cannot be read is refused as a whole."""
    for message in messages:
        if message.body.startswith(TAG):
            yield from _unpack(message)
            continue
        report = _read(message, refusals)
        if report is not None:
            yield from runs_of(report, message.received_at)


def _unpack(message: SignedReport) -> Iterator[Run]:
    """What `pack` made; anything else is a fault of ours and raises ValueError."""
    end = message.body.index(b"\n", len(TAG))
    start = end + 1
    for stream_id, lease_id, first, last, previous_hash, hash_, run_ms, final, size in json.loads(
        message.body[len(TAG) : end]
    ):
        rows = message.body[start : start + size]
        start += size
        yield Run(
            message.node_id,
            message.received_at,
            stream_id,
            lease_id,
            first,
            last,
            previous_hash,
            hash_,
            run_ms,
            final,
            rows,
        )
    if start != len(message.body):
        raise ValueError(f"a parcel of {len(message.body)} bytes says {start}")


def _read(message: SignedReport, refusals: Refusals) -> Report | None:
    if len(message.body) > REPORT_BODY_MAX_BYTES:
        refusals.add(message.node_id, "malformed", f"a report of {len(message.body)} bytes")
        return None
    try:
        report = Report.model_validate_json(message.body)
    except ValidationError as error:
        refusals.add(message.node_id, "malformed", str(error.errors(include_url=False, include_input=False)[0]))
        return None
    if report.node_id != message.node_id:
        refusals.add(message.node_id, "foreign_node", f"it names {report.node_id}", max(1, count_of(report)))
        return None
    return report
