"""`gridbay epoch`: a closed epoch as it is published, fetched, and recomputed by anyone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from gridbay.cli.console import remarks, results
from gridbay.cli.listing import facts
from gridbay.cli.session import open_market
from gridbay.client.anchors import verify_roots
from market.epochs import PublishedEpoch, PublishedLine, verify_epoch
from market.errors import InvalidInput
from market.money import format_usdc

app = typer.Typer(no_args_is_help=True)
LINE_MAX_BYTES = 16 * 1024
EXIT_FALSE = 1
Document = TypeVar("Document", bound=BaseModel)
Number = Annotated[int, typer.Argument(metavar="EPOCH", min=1, show_default=False)]


@app.callback()
def epoch() -> None:
    """Fetch and recompute a closed epoch, line by line.

    Every line of it is published, under pseudonyms.
    """


@app.command("export")
def export(
    number: Number,
    file: Annotated[Path, typer.Option("--output", "-o", help="Write it there.", show_default=False)],
) -> None:
    """Fetch a closed epoch's published lines, as one JSON document a line."""
    part = file.with_name(f"{file.name}.part")
    with open_market() as market, part.open("wb") as output, remarks().status("fetching its lines …"):
        head = market.published_epoch(number)
        _write(output, head)
        written = 0
        while written < head.epoch.line_count:
            lines = market.published_lines(number, start=written)
            if not lines:
                raise InvalidInput(f"the market published {written} of the {head.epoch.line_count} lines it names")
            for line in lines:
                _write(output, line)
            written += len(lines)
    part.replace(file)
    print(f"{file}; recompute it with: gridbay epoch verify {number} --from {file}")


@app.command("verify")
def verify(
    number: Number,
    file: Annotated[Path, typer.Option("--from", help="A file as `epoch export` writes it.", show_default=False)],
    *,
    root: Annotated[
        str | None, typer.Option("--root", help="The root you trust; else the file's.", show_default=False)
    ] = None,
    rpc: Annotated[
        str | None,
        typer.Option("--rpc", help="Check the root against the chain too, at this Solana RPC.", show_default=False),
    ] = None,
    treasury: Annotated[
        str | None,
        typer.Option("--treasury", help="The address you trust to anchor; else the file's.", show_default=False),
    ] = None,
) -> None:
    """Recompute an epoch from its published lines: arithmetic, order, sum, tree and root; with --rpc, the anchor.

    Needs no market and no login. Ends with 0 if all of it holds, 1 if anything does not.
    """
    with file.open("rb") as source:
        head = _document(PublishedEpoch, _line(source), file, 1)
        if head.epoch.epoch != number:
            raise InvalidInput(f"{file} is epoch {head.epoch.epoch}, not {number}")
        problems = list(verify_epoch(head.epoch, _lines(source, file)).problems)
    if root is not None and root != head.epoch.root:
        problems.append(f"the file's root is {head.epoch.root}, not {root}")
    if rpc is not None:
        roots = [(head.epoch, head.anchor_signature)]
        problems += verify_roots(roots, head.treasury, rpc, treasury=treasury).problems
    results().print(
        facts(
            [
                ("epoch", str(number)),
                ("lines", str(head.epoch.line_count)),
                ("total", f"{format_usdc(head.epoch.total_microusd)} USDC"),
                ("root", head.epoch.root),
                ("anchored in", head.anchor_signature or "not yet"),
            ]
        )
    )
    for problem in problems:
        results().print(f"does not hold: {problem}", style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(EXIT_FALSE)
    checked = "epoch verified" + ("" if rpc else " offline (with --rpc URL against the chain too)")
    results().print(checked, style="green")


def _write(output: BinaryIO, document: BaseModel) -> None:
    output.write(document.model_dump_json().encode() + b"\n")


def _lines(source: BinaryIO, file: Path) -> Iterator[PublishedLine]:
    number = 1
    while content := _line(source):
        number += 1
        yield _document(PublishedLine, content, file, number)


def _line(source: BinaryIO) -> bytes:
    return source.readline(LINE_MAX_BYTES)


def _document(kind: type[Document], content: bytes, file: Path, number: int) -> Document:
    """Raises InvalidInput for a line that is none."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = "/".join(map(str, fault["loc"]))
        raise InvalidInput(
            f"{file} is no published epoch: line {number}, {place}: {fault['msg']}",
            remedy="gridbay epoch export EPOCH -o FILE fetches one",
        ) from None
