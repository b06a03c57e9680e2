"""From facts to a report's rows, with pandas: joined, derived, sorted.

pandas takes 80 MB and most of a second to import, so it lives in a process of its own for as long as one question:
`python -m monitoring.frames` reads facts as JSON and writes rows as JSON. It is given no engine and no secret.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from monitoring.measures import Report, Row, ppm


def rows(report: Report, by: Sequence[str], facts: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The rows of a report, sorted by what it is broken down by. facts: as monitoring.facts loads them."""
    frame = _FRAMES[report](list(by), facts)
    told = frame.to_dict(orient="records")
    return [{str(name): None if value is pd.NA else value for name, value in row.items()} for row in told]


def _gmv(by: list[str], facts: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    money = ("usage_lines", "gmv_microusd", "provider_microusd", "fee_microusd", "rounding_microusd")
    frame = _frame(facts["lines"], by, money)
    frame["take_rate_ppm"] = _ratio(frame["fee_microusd"], frame["gmv_microusd"])
    return frame.sort_values(by, ignore_index=True) if by else frame


def _utilization(by: list[str], facts: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    keys = [*by, "unit"]
    leased, offered = (_frame(facts[name], keys, ("unit_ms",)) for name in ("leased", "offered"))
    frame = leased.merge(offered, on=keys, how="outer", suffixes=("_leased", "_offered"))
    frame["leased_unit_ms"] = frame.pop("unit_ms_leased").fillna(0)
    frame["offered_unit_ms"] = frame.pop("unit_ms_offered").fillna(0)
    frame["utilization_ppm"] = _ratio(frame["leased_unit_ms"], frame["offered_unit_ms"])
    return frame.sort_values(keys, ignore_index=True)


def _queue_wait(by: list[str], facts: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    figures = ("jobs", "wait_p50_ms", "wait_p90_ms", "wait_p99_ms", "wait_max_ms")
    frame = _frame(facts["waits"], by, figures)
    return frame.sort_values(by, ignore_index=True) if by else frame


def _outcomes(by: list[str], facts: Mapping[str, Sequence[Row]]) -> pd.DataFrame:
    keys = [*by, "reason"]
    return _frame(facts["outcomes"], keys, ("jobs",)).sort_values(keys, ignore_index=True)


_FRAMES = {
    Report.GMV: _gmv,
    Report.UTILIZATION: _utilization,
    Report.QUEUE_WAIT: _queue_wait,
    Report.OUTCOMES: _outcomes,
}


def _frame(found: Sequence[Row], keys: Sequence[str], figures: Sequence[str]) -> pd.DataFrame:
    """The keys as text, the figures as whole numbers; an empty set has its columns all the same."""
    columns = {key: pd.Series([str(row[key]) for row in found], dtype="string") for key in keys}
    return pd.DataFrame({**columns, **{name: _whole([row[name] for row in found]) for name in figures}})


def _whole(numbers: Sequence[int | None]) -> Any:
    """pandas' own nullable integers: a gap stays a gap, and 2**53 + 1 stays odd."""
    return pd.Series(numbers, dtype="Int64")


def _ratio(part: Any, whole: Any) -> Any:
    """In millionths, by whole numbers alone; nothing of nothing is no number."""
    return _whole([ppm(int(a), int(b)) for a, b in zip(part, whole, strict=True)])


def main() -> None:
    """One question: {"report", "by", "facts"} on standard input, its rows on standard output."""
    asked = json.load(sys.stdin)
    json.dump(rows(Report(asked["report"]), asked["by"], asked["facts"]), sys.stdout)


if __name__ == "__main__":
    main()
