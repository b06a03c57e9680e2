"""The plot of how long jobs wait, as an SVG that reads on light and dark ground."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 56, 16, 20, 44
COLOURS = ("#0b7285", "#e8590c", "#868e96", "#5f3dc4")
MARKS = ((60, "1 min"), (600, "10 min"), (3600, "1 h"), (6 * 3600, "6 h"), (86400, "1 day"), (7 * 86400, "1 week"))
LEAST, MOST = 10.0, 40 * 86400.0
POINTS = 160


def draw_waits(waits: Mapping[str, Sequence[int]]) -> str:
    """By policy, its jobs' waits in seconds, sorted: which part of the jobs had started after how long."""
    lines = [_axis(), *(_line(at, name, ranked) for at, (name, ranked) in enumerate(waits.items()))]
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" role="img" aria-label="part of the jobs started by time waited">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _x(seconds: float) -> float:
    part = (math.log(max(seconds, LEAST)) - math.log(LEAST)) / (math.log(MOST) - math.log(LEAST))
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _y(part: float) -> float:
    return TOP + (1 - part) * (HEIGHT - TOP - BOTTOM)


def _axis() -> str:
    rows = [f'<text x="{LEFT}" y="{HEIGHT - 8}" fill="#343a40">time from submission to start</text>']
    for seconds, name in MARKS:
        x = _x(seconds)
        rows.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{_y(0):.1f}" stroke="#e9ecef"/>')
        rows.append(f'<text x="{x:.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle" fill="#343a40">{name}</text>')
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e9ecef"/>')
        rows.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#343a40">{percent} %</text>')
    return "\n".join(rows)


def _line(at: int, name: str, ranked: Sequence[int]) -> str:
    steps = [LEAST * (MOST / LEAST) ** (point / POINTS) for point in range(POINTS + 1)]
    points = " ".join(f"{_x(step):.1f},{_y(bisect_right(ranked, step) / len(ranked)):.1f}" for step in steps)
    y = TOP + 16 + 18 * at
    return (
        f'<polyline points="{points}" fill="none" stroke="{COLOURS[at]}" stroke-width="2"/>\n'
        f'<text x="{LEFT + 16}" y="{y}" fill="{COLOURS[at]}">{name}</text>'
    )
