"""Tables in a terminal of any width: whole columns go, the least important first; nothing that is shown is cut."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gridbay.cli import cost, jobs, listing, offers, provider_account
from gridbay.cli.listing import Column, table_of

ROW = st.lists(st.text("abcdefgh", min_size=1, max_size=40), min_size=6, max_size=6)
RANKS = st.lists(st.integers(0, 3), min_size=6, max_size=6)


def printed(monkeypatch: pytest.MonkeyPatch, rows: Sequence[Any], columns: Sequence[Column], width: int) -> str:
    console = Console(width=width, force_terminal=False, highlight=False)
    monkeypatch.setattr(listing, "results", lambda: console)
    with console.capture() as capture:
        console.print(table_of(rows, columns))
    return capture.get()


@given(rows=st.lists(ROW, min_size=1, max_size=4), ranks=RANKS, width=st.integers(48, 260))
def test_what_is_shown_is_shown_whole_and_the_rest_is_named(
    rows: list[list[str]], ranks: list[int], width: int
) -> None:
    titles = [f"T{number}" for number in range(6)]
    columns = [
        Column(title, lambda row, number=number: row[number], rank=rank)
        for number, (title, rank) in enumerate(zip(titles, ranks, strict=True))
    ]
    with pytest.MonkeyPatch.context() as patch:
        text = printed(patch, rows, columns, width)
    assert all(len(line) <= width for line in text.splitlines())
    head, _, foot = text.partition("too narrow for")
    shown = [title for title in titles if title in head]
    assert set(titles) - set(shown) == {title for title in titles if title in foot}
    assert all(row[titles.index(title)] in head for row in rows for title in shown)
    assert all(rank > 0 for title, rank in zip(titles, ranks, strict=True) if title not in shown)


@pytest.mark.parametrize(
    ("columns", "kept"),
    [
        (jobs.COLUMNS, {"JOB", "STATE", "COST USDC"}),
        (cost.COLUMNS, {"SECONDS", "AMOUNT"}),
        (offers.COLUMNS, {"NODE", "MODEL", "FREE", "USDC/h"}),
        (provider_account.COLUMNS, {"NODE", "STATE"}),
    ],
)
def test_ids_states_and_money_are_never_left_out(columns: Sequence[Column], kept: set[str]) -> None:
    assert {column.title for column in columns if column.rank == 0} == kept
