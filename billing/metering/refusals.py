"""Refused readings: counted by node and cause, in rows that operators and monitoring read."""

from collections import Counter
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.tables.metering import ReadingRefusalRow

DETAIL_MAX_CHARACTERS = 300


class Refusals:
    """What one merge refused."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._details: dict[tuple[str, str], str] = {}

    def add(self, node_id: str, cause: str, detail: str, count: int = 1) -> None:
        if count > 0:
            self._counts[node_id, cause] += count
            self._details[node_id, cause] = detail[:DETAIL_MAX_CHARACTERS]

    @property
    def total(self) -> int:
        return self._counts.total()

    def by_cause(self) -> dict[str, int]:
        totals: Counter[str] = Counter()
        for (_, cause), count in self._counts.items():
            totals[cause] += count
        return dict(totals)

    def save(self, session: Session, now: datetime) -> None:
        """Add them to the rows, in one order."""
        for key in sorted(self._counts):
            node_id, cause = key
            row = insert(ReadingRefusalRow).values(
                node_id=node_id, cause=cause, count=self._counts[key], last_detail=self._details[key], last_at=now
            )
            session.execute(
                row.on_conflict_do_update(
                    index_elements=["node_id", "cause"],
                    set_={
                        "count": ReadingRefusalRow.count + row.excluded.count,
                        "last_detail": row.excluded.last_detail,
                        "last_at": row.excluded.last_at,
                    },
                )
            )
