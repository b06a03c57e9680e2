"""When an offer is open: windows of the week in UTC, such as "Mon-Fri 19:00-07:00" or "Sat,Sun"."""

import re
from collections.abc import Sequence
from datetime import datetime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_SECONDS = 24 * 3600
WEEK_SECONDS = 7 * DAY_SECONDS
WINDOWS_MAX = 20
_WINDOW = re.compile(
    r"(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*)"
    r"(?:\s+(?P<from>\d{2}:\d{2})-(?P<to>\d{2}:\d{2}))?",
    re.ASCII,
)


def parse_window(text: str) -> list[tuple[int, int]]:
    """Seconds of the week from Monday 00:00 on, [from, to): a window that ends before it begins ends a day later, so
    that `to` may lie past the week's end. Raises ValueError."""
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f'{text!r} is not a window of the week: write it like "Mon-Fri 19:00-07:00" or "Sat,Sun"')
    begins = _second(match["from"]) if match["from"] else 0
    ends = _second(match["to"]) if match["to"] else DAY_SECONDS
    lasts = ends - begins if ends > begins else ends - begins + DAY_SECONDS
    starts = [day * DAY_SECONDS + begins for day in _days(match["days"])]
    return [(start, start + lasts) for start in starts]


def open_seconds(windows: Sequence[str], now: datetime) -> int | None:
    """For how long it stays open, 0 while it is closed; None: always, as it is without any window."""
    spans = sorted(span for window in windows for span in parse_window(window))
    if not spans:
        return None
    at = now.weekday() * DAY_SECONDS + now.hour * 3600 + now.minute * 60 + now.second
    # Last week's may reach into this one, and what closes at the week's end may open again at once.
    spans = [(begins + week, ends + week) for week in (-WEEK_SECONDS, 0, WEEK_SECONDS) for begins, ends in spans]
    closes = at
    for begins, ends in spans:
        if begins <= closes < ends:
            closes = ends
    return None if closes - at >= WEEK_SECONDS else closes - at


def _days(text: str) -> list[int]:
    days: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ValueError(f"{part!r} is not a day: write {', '.join(day.capitalize() for day in DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        days += [day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)]
    return sorted(set(days))


def _second(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if not (hour < 24 and minute < 60) and text != "24:00":
        raise ValueError(f"{text!r} is not a time of the day")
    return hour * 3600 + minute * 60
