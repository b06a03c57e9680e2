"""One way to show many things: a table for people, JSON for programs, ids for pipes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from gridbay.cli.console import Output, harmless, results


@dataclass(frozen=True, slots=True)
class Column:
    """cell: what one item shows there; right: numbers."""

    title: str
    cell: Callable[[Any], str]
    right: bool = False


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


def table_of(items: Sequence[Any], columns: Sequence[Column]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for item in items:
        table.add_row(*(Text(harmless(column.cell(item))) for column in columns))
    return table


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
