"""One way to show many things: a table for people, JSON for programs, ids for pipes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gridbay.cli.console import Output, harmless, results

GAP = 2
WRAPPED_CHARACTERS_MIN = 16


@dataclass(frozen=True, slots=True)
class Column:
    """cell: what one item shows there; right: numbers; wraps: sentences, which may take several lines.

    rank: in a terminal too narrow for all, the columns of the highest rank are left out first, those of rank 0 never.
    """

    title: str
    cell: Callable[[Any], str]
    right: bool = False
    wraps: bool = False
    rank: int = 1


def show(items: Sequence[BaseModel], columns: Sequence[Column], output: Output, *, name: Callable[[Any], str]) -> None:
    """Print the items. name: what `-o quiet` shows of one."""
    if output is Output.JSON:
        print_json([item.model_dump(mode="json") for item in items])
    elif output is Output.QUIET:
        for item in items:
            print(name(item))
    else:
        results().print(table_of(items, columns))


def show_one(item: BaseModel, rows: Sequence[tuple[str, str]], output: Output, *, name: str) -> None:
    """Print one thing: its facts below each other."""
    if output is Output.JSON:
        print_json(item.model_dump(mode="json"))
    elif output is Output.QUIET:
        print(name)
    else:
        results().print(facts(rows))


def table_of(items: Sequence[Any], columns: Sequence[Column]) -> RenderableType:
    """A table that fits the terminal: whole columns are left out, and named below, rather than cells cut.

    Where even the important ones do not fit, each item's facts stand below each other.
    """
    cells = {column.title: [harmless(column.cell(item)) for item in items] for column in columns}
    room = results().width
    kept = _fitting(columns, {title: _width(title, texts) for title, texts in cells.items()}, room)
    if not kept:
        blocks = [facts([(title, texts[number]) for title, texts in cells.items()]) for number in range(len(items))]
        return Group(*(part for block in blocks for part in (block, "")))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for column in kept:
        table.add_column(
            column.title, justify="right" if column.right else "left", no_wrap=not column.wraps, overflow="fold"
        )
    for row in zip(*(cells[column.title] for column in kept), strict=True):
        table.add_row(*map(Text, row))
    left_out = [column.title for column in columns if column not in kept]
    if not left_out:
        return table
    return Group(table, Text(f"too narrow for {', '.join(left_out)}; -o json has everything", "dim"))


def _width(title: str, texts: Sequence[str]) -> int:
    return max(cell_len(line) for text in (title, *texts) for line in text.split("\n"))


def _fitting(columns: Sequence[Column], widths: dict[str, int], room: int) -> list[Column]:
    """The columns that fit, the least important left out first, of equals the last; none if rank 0 does not fit."""

    def need(column: Column) -> int:
        width = widths[column.title]
        return GAP + (min(width, max(WRAPPED_CHARACTERS_MIN, len(column.title))) if column.wraps else width)

    kept = list(columns)
    while kept and sum(map(need, kept)) > room:
        last = max(kept, key=lambda column: (column.rank, kept.index(column)))
        if last.rank == 0:
            return []
        kept.remove(last)
    return kept


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and values in two columns; what has no value is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, value in rows:
        if value:
            grid.add_row(title, Text(harmless(value)))
    return grid


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
